//go:build !race

package template

// slack multiplies the time that rendering may take.
const slack = 1
