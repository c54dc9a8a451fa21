package template

import (
	"errors"
	"math"
	"math/bits"
	"strconv"
)

var (
	errDivision = errors.New("division by zero")
	errInfinite = errors.New("the result is not a finite number")
)

// onNumber is a filter of one number. ofInt says false where an int does not
// hold the result.
func onNumber(ofInt func(int) (int, bool), ofFloat func(float64) float64) filter {
	return filter{0, 0, func(_ *run, in any, _ []any) (any, error) {
		number, err := toNumber(in)
		if err != nil {
			return nil, err
		}
		if n, ok := number.(int); ok {
			if result, ok := ofInt(n); ok {
				return result, nil
			}
		}
		return finite(ofFloat(asFloat(number)))
	}}
}

// arithmetic is a filter of two numbers: of integers if both are and the
// result fits, of floats otherwise.
func arithmetic(
	ofInts func(a, b int) (result int, fits bool), ofFloats func(a, b float64) float64,
) filter {
	return filter{1, 1, func(_ *run, in any, args []any) (any, error) {
		a, err := toNumber(in)
		if err != nil {
			return nil, err
		}
		b, err := toNumber(args[0])
		if err != nil {
			return nil, err
		}
		x, isInt := a.(int)
		y, areInts := b.(int)
		if isInt && areInts {
			if result, fits := ofInts(x, y); fits {
				return result, nil
			}
		}
		return finite(ofFloats(asFloat(a), asFloat(b)))
	}}
}

func asFloat(number any) float64 {
	if n, ok := number.(int); ok {
		return float64(n)
	}
	return number.(float64)
}

// finite is a result with the 15 digits that a float is sure of: 0.1 plus 0.2
// is 0.3 in a mail.
func finite(f float64) (any, error) {
	if math.IsNaN(f) {
		return nil, errDivision
	}
	if math.IsInf(f, 0) {
		return nil, errInfinite
	}
	return strconv.ParseFloat(strconv.FormatFloat(f, 'g', 15, 64), 64)
}

func absInt(n int) (int, bool) { return max(n, -n), n != math.MinInt }

func absFloat(f float64) float64 { return math.Abs(f) }

func addInts(a, b int) (int, bool) { return a + b, (a+b > a) == (b > 0) }

func addFloats(a, b float64) float64 { return a + b }

func subtractInts(a, b int) (int, bool) { return a - b, (a-b < a) == (b > 0) }

func subtractFloats(a, b float64) float64 { return a - b }

func multiplyInts(a, b int) (int, bool) {
	high, low := bits.Mul64(uint64(max(a, -a)), uint64(max(b, -b)))
	return a * b, high == 0 && low <= math.MaxInt64 && a != math.MinInt && b != math.MinInt
}

func multiplyFloats(a, b float64) float64 { return a * b }

func divideInts(a, b int) (int, bool) {
	if b == 0 || a == math.MinInt && b == -1 {
		return 0, false
	}
	q := a / b
	if a%b != 0 && (a < 0) != (b < 0) {
		q-- // rounds down, as in Ruby
	}
	return q, true
}

// divideFloats and remainderFloats are NaN for a division by zero, by which
// it is found out.
func divideFloats(a, b float64) float64 {
	if b == 0 {
		return math.NaN()
	}
	return a / b
}

func remainderInts(a, b int) (int, bool) {
	if b == 0 {
		return 0, false
	}
	remainder := a % b
	if remainder != 0 && (remainder < 0) != (b < 0) {
		remainder += b // has the sign of b, as in Ruby
	}
	return remainder, true
}

func remainderFloats(a, b float64) float64 {
	remainder := math.Mod(a, b)
	if remainder != 0 && (remainder < 0) != (b < 0) {
		remainder += b
	}
	return remainder
}

func ceilFloat(f float64) float64 { return math.Ceil(f) }

func floorFloat(f float64) float64 { return math.Floor(f) }

// rounding is a filter that makes a whole number.
func rounding(f func(float64) float64) filter {
	return filter{0, 0, func(_ *run, in any, _ []any) (any, error) {
		number, err := toNumber(in)
		if err != nil {
			return nil, err
		}
		return whole(number, f), nil
	}}
}

// whole is an int if the result fits one.
func whole(number any, f func(float64) float64) any {
	value, ok := number.(float64)
	if !ok {
		return number
	}
	if value = f(value); math.Abs(value) < 1<<53 {
		return int(value)
	}
	return value
}

// round rounds half away from zero, to a number of decimal places.
func round(_ *run, in any, args []any) (any, error) {
	number, err := toNumber(in)
	if err != nil {
		return nil, err
	}
	places := 0
	if len(args) > 0 {
		if places, err = wholeNumber(args[0]); err != nil {
			return nil, err
		}
	}
	value, ok := number.(float64)
	switch {
	case !ok || places > 15: // nothing to round
		return number, nil
	case places <= 0:
		return whole(number, math.Round), nil
	}
	scale := math.Pow10(places)
	if scaled := math.Round(value*scale) / scale; !math.IsInf(scaled, 0) {
		return scaled, nil
	}
	return value, nil
}

// wholeNumber is an argument that counts something.
func wholeNumber(arg any) (int, error) {
	n, ok := toInt(arg)
	if !ok {
		return 0, errors.New("a value that is not a whole number")
	}
	return n, nil
}
