package logql

import (
	"errors"
	"math"
	"math/big"
	"strconv"
)

// maxDecimalBits bounds the exact numbers of templates; beyond it they are
// calculated as floats.
const maxDecimalBits = 1 << 13

// decimal calculates as people do with decimal fractions: 0.1 and 0.2 make 0.3.
func decimal(op byte, a any, more []any) (float64, error) {
	out := toFloat(a)
	exact := rat(out)
	for _, m := range more {
		x := toFloat(m)
		if op == '/' && x == 0 {
			return 0, errors.New("division by zero")
		}
		y := rat(x)
		if exact == nil || y == nil || exact.Num().BitLen()+exact.Denom().BitLen() > maxDecimalBits {
			out, exact = calculate(op, out, x), nil
			continue
		}
		switch op {
		case '+':
			exact.Add(exact, y)
		case '-':
			exact.Sub(exact, y)
		case '*':
			exact.Mul(exact, y)
		case '/':
			exact.Quo(exact, y)
		}
		out, _ = exact.Float64()
	}
	return out, nil
}

func calculate(op byte, a, b float64) float64 {
	switch op {
	case '+':
		return a + b
	case '-':
		return a - b
	case '*':
		return a * b
	}
	return a / b
}

// rat returns the decimal number that is written for v, nil if there is none.
func rat(v float64) *big.Rat {
	if math.IsInf(v, 0) || math.IsNaN(v) {
		return nil
	}
	r, _ := new(big.Rat).SetString(strconv.FormatFloat(v, 'g', -1, 64))
	return r
}
