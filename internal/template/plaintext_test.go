package template

import (
	"strings"
	"testing"
	"time"

	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/stretchr/testify/require"
)

func TestPlainText(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ html, want string }{
		"nothing":                  {"", ""},
		"text":                     {"a &amp; b\n  c&nbsp;d", "a & b c d"},
		"inline":                   {"Hel<b>lo</b>, <i>you</i> <span>€</span><span>10</span>", "Hello, you €10"},
		"paragraphs":               {"<p style='x'>a</p><p>b</p>\n\n<div>c</div><div>d</div>", "a\n\nb\n\nc\nd"},
		"line breaks":              {"a<br>b<br/>c<BR class=x>d<br><br><br><br>e", "a\nb\nc\nd\n\ne"},
		"headings":                 {"<h1>a</h1><h2 id=x>b</h2>c", "a\n\nb\n\nc"},
		"link":                     {`See <a class="b" href="https://e.com/?a=1&amp;b=2">this  page</a>, please.`, "See this page <https://e.com/?a=1&b=2>, please."},
		"link that is its text":    {`<a href="https://e.com">https://e.com</a> <a href="mailto:a@b.c">a@b.c</a> <a href='tel:+49'>+49</a>`, "https://e.com a@b.c +49"},
		"link to nowhere":          {`<a href="#x">a</a><a name=x>b</a><a href="javascript:x()">c</a><a href=" JavaScript:x()">d</a>`, "abcd"},
		"link of an image":         {`<a href="https://e.com"><img src=x alt="Shop"></a> <a href="https://f.com"><img src=y></a>`, "Shop <https://e.com> https://f.com"},
		"link not closed":          {`<a href="https://e.com">a<a href="https://f.com">b</a>`, "a <https://e.com>b <https://f.com>"},
		"link with breaks in it":   {`<a href="https://e.com/&#10; x"><div>a</div></a><p>b`, "a <https://e.com/x>\n\nb"},
		"list":                     {"a<ul class=x><li style=y>b</li>\n<li>c</ul>d", "a\n\n- b\n- c\n\nd"},
		"ordered list":             {"<ol><li>a<li>b</ol>", "1. a\n2. b"},
		"list in a list":           {"<ul><li>a<ol><li>b</li><li>c</li></ol></li><li>d</li></ul>", "- a\n  1. b\n  2. c\n- d"},
		"list item of two lines":   {"<ul><li>a<br>b</li></ul>", "- a\n  b"},
		"list item without a list": {"<li>a", "- a"},
		"table":                    {"<table><tr><th>a</th><th>b</th></tr><tr><td>c<td>d</table>e", "a  b\nc  d\n\ne"},
		"quote":                    {"a<blockquote><p>b</p><p>c</p><blockquote>d</blockquote></blockquote>e", "a\n\n> b\n>\n> c\n>\n> > d\n\ne"},
		"rule":                     {"a<hr>b", "a\n----------\nb"},
		"preformatted":             {"a<pre>  b\n    c  d\n</pre>e", "a\n\n  b\n    c  d\n\ne"},
		"not shown":                {"<head><title>t</title><style>s</style></head><script>if (a<b) {}</script><template>x</template>a", "a"},
		"hidden":                   {`<div style="Display : none;"><div>a</div>b</div><p hidden>c</p><br hidden>d`, "d"},
		"hidden to the end":        {`a<div style="display:none">b`, "a"},
		"comment":                  {"<!doctype html>a<!-- <p>b -->c<!--[if mso]>d<![endif]-->", "ac"},
		"end tags alone":           {"</ul></ol></pre></blockquote></a></p>a</div>b", "a\nb"},
		"no HTML":                  {"1 < 2 && 3 > 2", "1 < 2 && 3 > 2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, plainText(c.html))
		})
	}
}

func TestPlainTextOfHostileHTML(t *testing.T) {
	t.Parallel()
	for _, unit := range []string{
		"<", "<a", "<a ", "<a href=x>", "<a href=x>y", "</a>", "&", "&#x41;", "&aaaaaaaaaa", "<!--", "<!", "<?",
		"<div>", "<b>", "<b>x", "<li>", "<li>x", "<ul>", "<ul><li>x", "<ol><li>x<br>", "<table>", "<table><tr><td>x",
		"<script>", "<style>", "<title>", "<textarea>", "<pre>", "<pre> <b> ", "<pre>\n", "<blockquote>",
		"<blockquote>x<br>", "<p>", "<p hidden>", "<div style='display:none'>", "<br>x", "<br>", " ", "\n", "x ", "\x00",
		"<font color=a>", "<b><p>", "<a a a a a a>", "<img alt=x>", "<img alt='x y'>", "\xff", "</li>", "<svg><a href=x>",
	} {
		t.Run(unit, func(t *testing.T) {
			t.Parallel()
			html := strings.Repeat(unit, notify.MaxBodyBytes/raceFactor/len(unit))
			start := time.Now()
			text := plainText(html)
			require.Less(t, time.Since(start), refusedWithin)
			require.LessOrEqual(t, len(text), notify.MaxBodyBytes)
		})
	}
}
