package template

import (
	"fmt"
	"github.com/belfry-notify/belfry/internal/notify"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestX(t *testing.T) {
	names := slices.Sorted(maps.Keys(filters))
	pick := func(l []string) string { return l[rand.IntN(len(l))] }
	atoms := []string{"s", "n", "f", "l", "m", "o", "html", "lines", "t", "e", "deep", "day", "nme", "blank", "empty", "nil", "true", "1", "-1", "0", "2.5", "99999999999", "\"x\"", "''", "' '", "',' ", "forloop", "recipient", "o[0]", "o[0].n", "l[n]", "l.first", "deep[2].x", "(1..3)", "(n..l)", "(1..99999999)", "recipient.name", "o[s]", "m[0]", "x", "x", "x", "(l | first)", "(s | split: '')", "(x | json)", "forloop.index", "s.size"}
	var expr func() string
	expr = func() string {
		e := pick(atoms)
		for rand.IntN(3) > 0 {
			f := pick(names)
			e += " | " + f
			n := filters[f].min
			if filters[f].max > n {
				n += rand.IntN(filters[f].max - n + 1)
			}
			for i := range n {
				if i == 0 {
					e += ": "
				} else {
					e += ", "
				}
				e += pick(atoms)
			}
		}
		return e
	}
	cond := func() string {
		switch rand.IntN(3) {
		case 0:
			return expr()
		case 1:
			return pick(atoms) + " " + pick([]string{"==", "!=", "<", ">", "<=", ">=", "contains"}) + " " + pick(atoms)
		default:
			return pick(atoms) + " and " + pick(atoms) + " or " + expr()
		}
	}
	var body func(d int, loop bool) string
	body = func(d int, loop bool) string {
		var b strings.Builder
		for range rand.IntN(4) + 1 {
			switch k := rand.IntN(14); {
			case k < 4 || d > 4:
				b.WriteString("{{ " + expr() + " }}")
			case k == 4:
				b.WriteString("{% if " + cond() + " %}" + body(d+1, loop) + "{% else %}" + body(d+1, loop) + "{% endif %}")
			case k == 5:
				b.WriteString("{% for x in " + expr() + pick([]string{"", " reversed", " limit: n", " offset: 1", " limit: " + pick(atoms)}) + " %}" + body(d+1, true) + "{% endfor %}")
			case k == 6:
				b.WriteString("{% tablerow x in " + expr() + " cols: " + pick(atoms) + " %}" + body(d+1, true) + "{% endtablerow %}")
			case k == 7:
				b.WriteString("{% case " + expr() + " %}{% when " + pick(atoms) + ", " + pick(atoms) + " %}" + body(d+1, loop) + "{% else %}x{% endcase %}")
			case k < 10:
				b.WriteString("{% assign x = " + cond() + " %}")
			case k == 10:
				b.WriteString("{% capture x %}" + body(d+1, loop) + "{% endcapture %}")
			case k == 11:
				b.WriteString("{% cycle 'a', 'b' %}")
			case k == 12 && loop:
				b.WriteString("{% " + pick([]string{"break", "continue"}) + " %}")
			default:
				b.WriteString("text")
			}
		}
		return b.String()
	}
	e := New()
	e.now = time.Now
	counts := map[string]int{}
	var slow time.Duration
	end := time.Now().Add(60 * time.Second)
	n := 0
	for time.Now().Before(end) {
		n++
		s := body(0, false)
		st := time.Now()
		src := notify.Email{Subject: "s", HTML: s, Text: s}
		out, err := e.Email(t.Context(), src, filterData, ann())
		if d := time.Since(st); d > slow {
			slow = d
			fmt.Println(d, len(s))
			if d > 400*time.Millisecond {
				fmt.Println(s)
			}
		}
		if err != nil {
			m := err.Error()
			if strings.Contains(m, "cannot be rendered:") {
				fmt.Println(s, "\n   ", m)
				t.Fail()
			}
			m = m[strings.Index(m, "line"):]
			if i := strings.Index(m, ": "); i > 0 {
				m = m[i+2:]
			}
			if i := strings.IndexAny(m, ";("); i > 0 {
				m = m[:i]
			}
			if strings.Contains(m, "undefined") {
				m = "undefined"
			}
			counts[m]++
		} else {
			counts["ok"]++
			checkRendered(t, out)
			if n%50 == 0 {
				out2, err := e.Email(t.Context(), src, filterData, ann())
				if err == nil && out2 != out {
					t.Error("impure", s)
				}
			}
		}
	}
	for k, v := range counts {
		fmt.Println(v, k)
	}
	fmt.Println(n, slow)
}
