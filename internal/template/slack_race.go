//go:build race

package template

// slack multiplies the time that rendering may take: the race detector makes
// it many times slower.
const slack = 4
