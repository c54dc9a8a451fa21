package template

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/belfry-notify/belfry/internal/notify"
)

// What rendering one mail may take, all its parts together.
const (
	maxRenderTime = 250 * time.Millisecond * slack
	maxTurns      = 100_000 // of all loops
	maxHeldBytes  = 8 << 20 // of all variables alive at once
	maxValueBytes = 1 << 20 // of any one value built on the way
)

// What the source of one part may be. The blocks and brackets are limited
// because a stack overflow ends the process: Go cannot recover from it.
const (
	maxSourceBytes     = notify.MaxBodyBytes
	maxTags            = 10_000 // tags and outputs; and values after when
	maxBlocks          = 100    // inside one another
	maxExpressionBytes = 4096   // of one output or the arguments of one tag
	maxBrackets        = 32     // inside one another in an expression
)

// maxAddressBytes is the longest rendered From or Reply-To: one line of a
// mail (RFC 5322, section 2.1.1).
const maxAddressBytes = 998

var (
	errTime  = fmt.Errorf("rendering took longer than %v", maxRenderTime/slack)
	errTurns = errors.New("more than 100,000 loop turns")
	errValue = errors.New("a value of more than 1 MiB was built")
	errHeld  = errors.New("variables hold more than 8 MiB")
)

// A fault is something wrong at a line of a part.
type fault struct {
	line    int // from 1
	message string
}

// maxMessageBytes is how much of a message is told: it may quote the source.
const maxMessageBytes = 300

func (f fault) Error() string {
	message := f.message
	if len(message) > maxMessageBytes {
		message = strings.ToValidUTF8(message[:maxMessageBytes], "") + "..."
	}
	return fmt.Sprintf("line %d: %s", f.line, message)
}

func faultf(line int, format string, args ...any) fault {
	return fault{line, fmt.Sprintf(format, args...)}
}
