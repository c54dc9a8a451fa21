package template

import (
	"strings"
	"testing"
	"time"

	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/stretchr/testify/require"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ source, want string }{
		"nothing wrong":             {`{% for i in l %}{{ i | append: "x" | default: y }}{% endfor %}`, ""},
		"output not closed":         {"a\n{{ x", "line 2: {{ is not closed with }}"},
		"output closed by the next": {"a\n{{ x \n {{ y }}", "line 2: unexpected \"{\"; is a closing }} or %} missing before it?"},
		"tag not closed":            {"{% if x", "line 1: {% is not closed with %}"},
		"block not closed":          {"a\n\n{% if x %}\n{% for i in y %}{% endfor %}", `line 3: "if" is not closed with "endif"`},
		"inner block not closed":    {"{% if x %}\n{% for i in y %}{% endif %}", `line 2: "endif" closes nothing`},
		"raw not closed":            {"{% raw %}{{", `line 1: "raw" is not closed with "endraw"`},
		"comment not closed":        {"\n{% comment %}", `line 2: "comment" is not closed with "endcomment"`},
		"end without a block":       {"{% endif %}", `line 1: "endif" closes nothing`},
		"else without a block":      {"{% else %}", `line 1: "else" is out of place`},
		"else twice":                {"{% if a %}{% else %}{% else %}{% endif %}", `line 1: "else" is out of place`},
		"when in an if":             {"{% if a %}{% when 1 %}{% endif %}", `line 1: "when" is out of place`},
		"break outside a loop":      {"{% break %}", `line 1: "break" outside a loop`},
		"break in else":             {"{% for i in x %}{% else %}{% break %}{% endfor %}", `line 1: "break" outside a loop`},
		"unknown tag":               {"{% fro i in x %}", `line 1: unknown tag "fro"`},
		"tag without a name":        {"{% %}", "line 1: a tag without a name"},
		"include":                   {`{% include "a" %}`, `line 1: "include" is not available: a template stands alone`},
		"render":                    {`{% render "a" %}`, `line 1: "render" is not available: a template stands alone`},
		"unknown filter":            {"\n{{ x | upcas }}", `line 2: unknown filter "upcas"`},
		"unknown filter in a tag":   {"{% if (x | upcas) %}{% endif %}", `line 1: unknown filter "upcas"`},
		"filter of another name":    {"{{ x | default?: 1 }}", `line 1: unknown filter "default?"`},
		"filter without a name":     {"{{ x | }}", "line 1: a filter's name is missing after |"},
		"too few arguments":         {"{{ x | append }}", `line 1: filter "append" takes 1 argument, not 0`},
		"too many arguments":        {"{{ x | upcase: 1 }}", `line 1: filter "upcase" takes no arguments, not 1`},
		"arguments in the middle":   {"{{ x | replace: 1 | upcase }}", `line 1: filter "replace" takes 2 arguments, not 1`},
		"arguments in brackets":     {"{{ (x | slice: 1, 2, 3) | append: y }}", `line 1: filter "slice" takes 1 to 2 arguments, not 3`},
		"empty output":              {"{{ }}", `line 1: syntax error in ""`},
		"empty if":                  {"{% if %}{% endif %}", `line 1: syntax error in ""`},
		"two values":                {"{{ a b }}", `line 1: syntax error in "a b"`},
		"for without in":            {"{% for i of x %}{% endfor %}", `line 1: syntax error in "i of x"`},
		"unknown modifier":          {"{% for i in x backwards %}{% endfor %}", `line 1: undefined loop modifier "backwards"`},
		"elsif without a test":      {"{% if x %}\n{% elsif %}{% endif %}", `line 2: syntax error in ""`},
		"assign without a value":    {"{% assign x %}", `line 1: syntax error in "x"`},
		"assign to a property":      {"{% assign x.y = 1 %}", "line 1: assign takes the name of a variable, not of a property"},
		"capture without a name":    {"{% capture %}{% endcapture %}", `line 1: capture takes the name of one variable, not ""`},
		"capture of two names":      {"{% capture a b %}{% endcapture %}", `line 1: capture takes the name of one variable, not "a b"`},
		"a statement in an output":  {"{{ %assign x = 1 }}", `line 1: unexpected "%"`},
		"a statement in a case":     {"{% case {%when 1 %}{% endcase %}", `line 1: unexpected "{"; is a closing }} or %} missing before it?`},
		"two statements":            {"{{ x; y }}", `line 1: unexpected ";"`},
		"cycle of nothing":          {"{% cycle %}", "line 1: cycle takes texts in quotes, with commas between them"},
		"cycle of a variable":       {"{% cycle a, 'b' %}", "line 1: cycle takes texts in quotes, with commas between them"},
		"cycle of two groups":       {"{% cycle 'a': 'b': 'c' %}", "line 1: cycle takes texts in quotes, with commas between them"},
		"cycle with an end missing": {"{% cycle 'a', %}", "line 1: cycle takes texts in quotes, with commas between them"},
		"cycle without a comma":     {"{% cycle 'a' 'b' %}", "line 1: cycle takes texts in quotes, with commas between them"},
		"when without a value":      {"{% case x %}{% when %}{% endcase %}", `line 1: syntax error in ""`},
		"when with an end missing":  {"{% case x %}\n{% when 1, %}{% endcase %}", `line 2: syntax error in ""`},
		"string not closed":         {`{{ "x }}`, `line 1: a string is not closed with "`},
		"bracket not closed":        {`{{ (x }}`, `line 1: syntax error in "(x"`},
		"bracket too many":          {`{{ x) }}`, `line 1: syntax error in "x)"`},
		"a number out of range":     {`{{ 99999999999999999999 }}`, "line 1: number 99999999999999999999 is out of range"},
		"a Go method":               {`{{ (1..9).AsArray }}`, "line 1: a property of a parenthesis; assign it to a variable first"},
		"a Go method in brackets":   {`{{ (1..9) ["AsArray"] }}`, "line 1: a property of a parenthesis; assign it to a variable first"},
		"a strange identifier":      {"{{ a\u0301\u20ac }}", "line 1: syntax error in identifier a\u0301\u20ac"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := New().Check("channels", notify.Bodies{Email: &notify.Email{Subject: "s", HTML: c.source}})
			if c.want == "" {
				require.Empty(t, got)
				return
			}
			require.Equal(t, []notify.FieldError{{Location: "channels.email.html", Message: c.want}}, got)
		})
	}
}

func TestCheckNamesEveryPart(t *testing.T) {
	t.Parallel()
	require.Empty(t, New().Check("content", notify.Bodies{}))
	require.Empty(t, New().Check("content", notify.Bodies{Email: &notify.Email{}}))
	require.Equal(t, []notify.FieldError{
		{Location: "content.email.subject", Message: "contains a line break or NUL"},
		{Location: "content.email.html", Message: "line 1: the source is longer than 1048576 bytes"},
		{Location: "content.email.text", Message: "line 1: the source is not valid UTF-8"},
		{Location: "content.email.from", Message: `line 1: unknown filter "x"`},
		{Location: "content.email.reply_to", Message: "contains a line break or NUL"},
	}, New().Check("content", notify.Bodies{Email: &notify.Email{
		Subject: "{{ a }}\n",
		HTML:    strings.Repeat("x", notify.MaxBodyBytes+1),
		Text:    "\xff",
		From:    "{{ a | x }}",
		ReplyTo: "a\x00b",
	}}))
}

func TestAFixedAddressIsCheckedWithItsSource(t *testing.T) {
	t.Parallel()
	of := func(from, replyTo string) []notify.FieldError {
		return New().Check("channels", notify.Bodies{Email: &notify.Email{Subject: "s", HTML: "h", From: from, ReplyTo: replyTo}})
	}
	require.Empty(t, of("Belfry <belfry@example.org>", "{{ shop }} <help@example.org>"))
	require.Empty(t, of("{{ shop.address }}", "help+{{ order }}@example.org"))
	require.Equal(t, []notify.FieldError{
		{Location: "channels.email.from", Message: "not a mail address"},
		{Location: "channels.email.reply_to", Message: "not a mail address"},
	}, of("not an address", "zzz"))
}

func TestLimitsOfSource(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ source, want string }{
		"20,000 blocks":           {strings.Repeat("{% if x %}", 9000), "more than 100 blocks inside one another"},
		"20,000 blocks, closed":   {strings.Repeat("{% if x %}", 4000) + strings.Repeat("{% endif %}", 4000), "more than 100 blocks inside one another"},
		"20,000 tags":             {strings.Repeat("{% if x %}{% endif %}", 20_000), "more than 10000 tags and outputs"},
		"20,000 parentheses":      {"{{ " + strings.Repeat("(", 20_000) + "x" + strings.Repeat(")", 20_000) + " }}", "an expression of more than 4096 bytes"},
		"2,000 parentheses":       {"{{ " + strings.Repeat("(", 2000) + "x" + strings.Repeat(")", 2000) + " }}", "more than 32 brackets inside one another"},
		"1,000 brackets":          {"{{ " + strings.Repeat("a[", 1000) + "x" + strings.Repeat("]", 1000) + " }}", "more than 32 brackets inside one another"},
		"a chain of properties":   {"{{ a" + strings.Repeat(".b", 400_000) + " }}", "an expression of more than 4096 bytes"},
		"a chain of filters":      {"{{ a" + strings.Repeat("|abs", 200_000) + " }}", "an expression of more than 4096 bytes"},
		"a chain of conditions":   {"{% if a" + strings.Repeat(" or a", 200_000) + " %}{% endif %}", "an expression of more than 4096 bytes"},
		"a list to cycle":         {"{% cycle ''" + strings.Repeat(",''", 300_000) + " %}", ""},
		"a list no cycle":         {"{% cycle ''" + strings.Repeat(",''", 300_000) + "x %}", "cycle takes texts in quotes"},
		"an unknown tag":          {"{% " + strings.Repeat("x", 1_000_000) + " %}", "unknown tag \"xxx"},
		"a list of values":        {"{% case a %}{% when 1" + strings.Repeat(",1", 100_000) + " %}{% endcase %}", "more than 10000 values to choose from"},
		"lists of values":         {"{% case a %}" + strings.Repeat("{% when 1"+strings.Repeat(",1", 250)+" %}", 1900) + "{% endcase %}", "more than 10000 values to choose from"},
		"a list of alternatives":  {"{% case a %}{% when 1" + strings.Repeat(" or 1", 100_000) + " %}{% endcase %}", "more than 10000 values to choose from"},
		"outputs not closed":      {strings.Repeat("{{", 500_000), "is not closed"},
		"tags not closed":         {strings.Repeat("{%", 500_000), "is not closed"},
		"raw not closed":          {"{% raw %}" + strings.Repeat("{% endra", 100_000), "is not closed"},
		"comments not closed":     {"{% comment %}" + strings.Repeat("{% x %}", 100_000), "is not closed"},
		"braces":                  {strings.Repeat("{ ", 500_000), ""},
		"a megabyte of text":      {strings.Repeat("x\n", 500_000), ""},
		"trimmed over and over":   {strings.Repeat("{{- 1 -}}"+strings.Repeat(" ", 90), 9999), ""},
		"else after else":         {"{% if x %}" + strings.Repeat("{% elsif x %}", 9900) + "{% endif %}", ""},
		"strings with everything": {"{{ '" + strings.Repeat("{|([%;", 600) + "' }}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			_, err := parse(c.source)
			took := time.Since(start)
			if c.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.want)
			}
			require.Less(t, took, refusedWithin)
		})
	}
}
