//go:build race

package template

const raceFactor = 30
