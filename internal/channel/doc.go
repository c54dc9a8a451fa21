// Package channel turns a rendered message into an outcome: one provider a
// file. A provider tries once and says exactly what came of it; when to try
// again, and what to do about doubt, is its caller's business.
package channel
