package recurrence

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// A Calendar is dates and times of the day. All of its fields have to match;
// those without a range match whatever it is. Hour and Minute are required.
type Calendar struct {
	Month      *Range `json:"month,omitempty"`        // 1 to 12
	DayOfMonth *Range `json:"day_of_month,omitempty"` // 1 to 31
	DayOfWeek  *Range `json:"day_of_week,omitempty"`  // 0 to 7; 0 and 7 are Sunday
	Hour       *Range `json:"hour"`                   // 0 to 23
	Minute     *Range `json:"minute"`                 // 0 to 59
}

// A Range is numbers from Start to End, both included. In JSON it is a number
// or a string such as "1-5".
type Range struct {
	Start, End int
}

var errRange = errors.New(`a range must be a number or a string such as "1-5"`)

// MarshalJSON is a number where the range has one only.
func (r Range) MarshalJSON() ([]byte, error) {
	if r.Start == r.End {
		return json.Marshal(r.Start)
	}
	return json.Marshal(fmt.Sprintf("%d-%d", r.Start, r.End))
}

// UnmarshalJSON takes numbers up to 255. Which of them a field may have is
// checked by Calendar and Compile.
func (r *Range) UnmarshalJSON(data []byte) error {
	text := string(data)
	if text == "null" {
		return nil
	}
	if strings.HasPrefix(text, `"`) {
		if err := json.Unmarshal(data, &text); err != nil {
			return errRange
		}
	}
	low, high, isRange := strings.Cut(text, "-")
	if !isRange {
		high = low
	}
	start, err := strconv.ParseUint(low, 10, 8)
	if err != nil {
		return errRange
	}
	end, err := strconv.ParseUint(high, 10, 8)
	if err != nil {
		return errRange
	}
	r.Start, r.End = int(start), int(end)
	return nil
}

// bits is the range as a bit set. The numbers must be below 64.
func (r Range) bits() uint64 {
	var set uint64
	for n := r.Start; n <= r.End; n++ {
		set |= 1 << n
	}
	return set
}

// A calendarField is one field of a calendar and what it may be.
type calendarField struct {
	name      string
	value     **Range
	low, high int
	note      string
	required  bool
}

func (c *Calendar) fields() []calendarField {
	return []calendarField{
		{"month", &c.Month, 1, 12, "", false},
		{"day_of_month", &c.DayOfMonth, 1, 31, "", false},
		{"day_of_week", &c.DayOfWeek, 0, 7, " (0 and 7 are Sunday)", false},
		{"hour", &c.Hour, 0, 23, "", true},
		{"minute", &c.Minute, 0, 59, "", true},
	}
}

func (f calendarField) refusal() FieldError {
	return FieldError{"calendar." + f.name,
		fmt.Sprintf(`must be a number from %d to %d%s or a string with two of them, the lower one first, such as "1-5"`, f.low, f.high, f.note)}
}

// check is what is wrong with the value.
func (f calendarField) check() Errors {
	value := *f.value
	switch {
	case value == nil && f.required, value != nil && (value.Start < f.low || value.End > f.high || value.Start > value.End):
		return Errors{f.refusal()}
	}
	return nil
}

// UnmarshalJSON refuses what Compile would, and unknown fields. The error is of
// type Errors.
func (c *Calendar) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	var given map[string]json.RawMessage
	if err := json.Unmarshal(data, &given); err != nil {
		return Errors{{"calendar", "must be an object with hour and minute, and optionally month, day_of_month and day_of_week"}}
	}
	*c = Calendar{}
	var wrong Errors
	for _, field := range c.fields() {
		raw, ok := given[field.name]
		delete(given, field.name)
		if ok && json.Unmarshal(raw, field.value) != nil {
			wrong = append(wrong, field.refusal())
			continue
		}
		wrong = append(wrong, field.check()...)
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		wrong.refuse("calendar."+name, "is not a field of a calendar: they are month, day_of_month, day_of_week, hour and minute")
	}
	if len(wrong) > 0 {
		return wrong
	}
	return nil
}

// wall checks the calendar.
func (c *Calendar) wall() (*wall, error) {
	var wrong Errors
	var sets []uint64
	for _, field := range c.fields() {
		if refused := field.check(); refused != nil {
			wrong = append(wrong, refused...)
			continue
		}
		value := *field.value
		if value == nil {
			value = &Range{field.low, field.high}
		}
		sets = append(sets, value.bits())
	}
	if len(wrong) > 0 {
		return nil, wrong
	}
	w, ok := newWall(sets[0], sets[1], sundayFirst(sets[2]), false, sets[3], sets[4])
	if !ok {
		return nil, Errors{{"calendar", "never comes: no year has such a day"}}
	}
	w.onceADay = true
	return w, nil
}
