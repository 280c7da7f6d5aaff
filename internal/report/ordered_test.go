package report

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/plumbline/plumbline/internal/diff"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// TestOrdered has each number of pieces written whole and in order.
func TestOrdered(t *testing.T) {
	for _, n := range []int{0, 1, pieceChanges - 1, pieceChanges, pieceChanges + 1, 20*pieceChanges + 7} {
		var got, want bytes.Buffer
		lay := func(out *bytes.Buffer, from, to int) {
			for i := from; i < to; i++ {
				fmt.Fprintln(out, i)
			}
		}
		lay(&want, 0, n)
		if err := ordered(&got, n, lay); err != nil || got.String() != want.String() {
			t.Errorf("%d changes: %v, got\n%s", n, err, &got)
		}
	}
}

// full is a disk with room for one write.
type full struct{ writes int }

var errFull = errors.New("no space left on device")

func (f *full) Write(p []byte) (int, error) {
	if f.writes++; f.writes > 1 {
		return 0, errFull
	}
	return len(p), nil
}

// TestFull checks that a page or text that is cut off is no success, however it is laid out.
func TestFull(t *testing.T) {
	plans := []NamedPlan{{Name: "a", Plan: manyChanges(3000)}}
	if err := ordered(&full{}, 10*pieceChanges, func(out *bytes.Buffer, from, to int) { out.WriteString("x") }); !errors.Is(err, errFull) {
		t.Errorf("ordered: %v", err)
	}
	if err := Text(&full{}, plans, false); !errors.Is(err, errFull) {
		t.Errorf("text: %v", err)
	}
	if err := HTML(&full{}, plans, PageOptions{}); !errors.Is(err, errFull) {
		t.Errorf("page: %v", err)
	}
}

func manyChanges(n int) (p plumbline.Plan) {
	actions := []plumbline.Action{plumbline.ActionDelete, plumbline.ActionUpdate, plumbline.ActionCreate}
	for i := range n {
		p.Changes = append(p.Changes, plumbline.Change{
			Address: fmt.Sprintf("a.b[%04d]", i), Action: actions[i*len(actions)/n], Attributes: []plumbline.Attribute{{Path: "x", Before: "1", After: "2"}},
		})
	}
	p.Drift = append(p.Drift, p.Changes...)
	return p
}

// TestManyChanges checks that changes which are laid out in several pieces stand where they would in one.
func TestManyChanges(t *testing.T) {
	p := manyChanges(10*pieceChanges + 3)
	var want strings.Builder
	for _, c := range byDanger(p.Changes) {
		terminal{&want, true}.lines(diff.Change(*c))
	}
	drift, _ := outside(p)
	var outsideWant strings.Builder
	for _, c := range drift {
		terminal{&outsideWant, true}.lines(diff.Change(*c))
	}
	var got strings.Builder
	if err := Text(&got, []NamedPlan{{Name: "a", Plan: p}}, true); err != nil {
		t.Fatal(err)
	}
	checkHas(t, "text", got.String(), want.String(), outsideWant.String())

	page := pageOf(t, []NamedPlan{{Name: "a", Plan: p}})
	var addresses []string
	for _, m := range regexp.MustCompile(`<summary><span class="sign">[^<]*</span> <code>([^<]*)</code>`).FindAllStringSubmatch(page, -1) {
		addresses = append(addresses, m[1])
	}
	var wanted []string
	for _, c := range byDanger(p.Changes) {
		wanted = append(wanted, c.Address)
	}
	for _, c := range drift {
		wanted = append(wanted, c.Address)
	}
	if strings.Join(addresses, " ") != strings.Join(wanted, " ") {
		t.Errorf("got %d changes in another order, want %d", len(addresses), len(wanted))
	}
	for _, heading := range []string{"Destroyed", "Changed in place", "Created"} {
		if n := strings.Count(page, "<h3>"+heading+" ("); n != 1 {
			t.Errorf("%d times the heading %s", n, heading)
		}
	}
}
