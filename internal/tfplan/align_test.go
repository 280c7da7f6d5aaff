package tfplan

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

func alignWalker() *walker {
	w := newWalker(Options{Key: testKey})
	w.begin(false, room{1 << 30, 1 << 30}, nil)
	return w
}

// TestAlignKeepsEverything makes lists by chance: each element of both is in the result once, in order.
func TestAlignKeepsEverything(t *testing.T) {
	aligned := 0
	for seed := range uint64(5000) {
		chance := rand.New(rand.NewPCG(seed, 3))
		elements := func(most int) (l [][]byte) {
			for range chance.IntN(most) {
				l = append(l, []byte([]string{
					"1", "2", `"a"`, `"b"`, "null", "true", "[]", "[1,2]", "[1]", "{}",
					fmt.Sprintf(`{"a":%d,"name":"%d"}`, chance.IntN(2), chance.IntN(3)), fmt.Sprintf(`{"a":%d,"b":%d}`, chance.IntN(2), chance.IntN(3)),
				}[chance.IntN(12)]))
			}
			return l
		}
		most := []int{3, 8, 100}[chance.IntN(3)]
		before, after := elements(most), elements(most)
		var unknown [][]byte
		for range chance.IntN(most) {
			unknown = append(unknown, []byte([]string{"false", "true", `{"a":true}`}[chance.IntN(3)]))
		}
		pairs := alignWalker().align(before, after, unknown)
		if pairs == nil {
			continue
		}
		aligned++
		var b, a []int
		for _, p := range pairs {
			if p.before != nowhere {
				b = append(b, p.before)
			}
			if p.after != nowhere {
				a = append(a, p.after)
			}
		}
		if !isCount(b, len(before)) || !isCount(a, max(len(after), len(unknown))) {
			t.Fatalf("seed %d: %s and %s: %v", seed, before, after, pairs)
		}
	}
	if aligned < 1000 {
		t.Errorf("only %d of the lists had to be aligned", aligned)
	}
}

// isCount reports whether l is 0, 1, 2, … n-1.
func isCount(l []int, n int) bool {
	for i, v := range l {
		if v != i {
			return false
		}
	}
	return len(l) == n
}

// TestAlignSaysNothingNew is about lists that are told by their indexes without any work.
func TestAlignSaysNothingNew(t *testing.T) {
	for _, test := range [][2]string{
		{`[]`, `[]`}, {`["a"]`, `["b"]`}, {`["a","b"]`, `["a","c"]`}, {`["a"]`, `["a","b","c"]`}, {`["a","b"]`, `["a"]`}, {`[]`, `["a","b"]`},
		{`[{"a":1,"b":1},{"a":2,"b":2}]`, `[{"a":1,"b":3},{"a":2,"b":4}]`},
	} {
		w := alignWalker()
		if pairs := w.align(w.splitArray([]byte(test[0])), w.splitArray([]byte(test[1])), nil); pairs != nil {
			t.Errorf("%s and %s: %v", test[0], test[1], pairs)
		}
	}
}

// TestAlignIsBounded shows that lists made to be slow take no longer than their size is worth: what cannot be bounded falls back to
// indexes or to pairs in order.
func TestAlignIsBounded(t *testing.T) {
	list := func(n int, element func(i int) string) string {
		var b strings.Builder
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(element(i))
		}
		return "[" + b.String() + "]"
	}
	block := func(off int) func(int) string {
		return func(i int) string {
			return list(30, func(k int) string { return fmt.Sprintf(`{"a":%d,"b":%d,"c":%d}`, i, k+off, k*off) })
		}
	}
	for name, sides := range map[string][2]string{
		"many that differ":        {list(9000, func(i int) string { return fmt.Sprint(i) }), list(9000, func(i int) string { return fmt.Sprint(i*7 + 1) })},
		"too many":                {list(50_000, func(i int) string { return fmt.Sprint(i) }), list(50_000, func(i int) string { return fmt.Sprint(i + 3) })},
		"the other way round":     {list(9000, func(i int) string { return fmt.Sprint(i) }), list(9000, func(i int) string { return fmt.Sprint(9000 - i) })},
		"two values by turns":     {list(9000, func(i int) string { return fmt.Sprint(i % 2) }), list(9000, func(i int) string { return fmt.Sprint(i / 3 % 2) })},
		"one gap of many objects": {list(3000, func(i int) string { return fmt.Sprintf(`{"a":%d}`, i) }), list(2999, func(i int) string { return fmt.Sprintf(`{"a":%d}`, -i-1) })},
		"many gaps of objects":    {list(500, block(1)), list(501, block(2))},
		"lists in lists":          {strings.Repeat("[1,", 400) + "1" + strings.Repeat("]", 400), strings.Repeat("[", 400) + "2" + strings.Repeat(",1,3]", 400)},
	} {
		t.Run(name, func(t *testing.T) {
			doc := `{"format_version":"1.2","resource_changes":[{"address":"x.a","mode":"managed","type":"x","change":{"actions":["update"],"before":{"l":` +
				sides[0] + `},"after":{"l":` + sides[1] + `}}}]}`
			start := time.Now()
			p, err := Read(strings.NewReader(doc), Options{Key: testKey, MaxAttributes: 1 << 20})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d kB, %d attributes, %v", len(doc)>>10, len(p.Changes[0].Attributes), time.Since(start))
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

func TestUnion(t *testing.T) {
	for _, test := range [][3]string{
		{"", "", ""}, {"true", "", "true"}, {"", "true", "true"}, {"false", `{"a":true}`, `{"a":true}`}, {`{"a":true}`, "true", "true"},
		{`{"a":true,"b":{"c":true}}`, `{"a":false,"b":{"d":true},"e":true}`, `{"a":true,"b":{"c":true,"d":true},"e":true}`},
		{"[false,true]", "[true]", "[true,true]"}, {"[true]", `{"a":true}`, "true"}, {`[{"a":true}]`, `[{"b":true}]`, `[{"a":true,"b":true}]`},
		{"[false,{}]", "[]", "[false,{}]"}, {`{"a":[true]}`, `{"a":[false,true],"b":[]}`, `{"a":[true,true],"b":false}`},
	} {
		got := union([]byte(test[0]), []byte(test[1]))
		if string(got) != test[2] {
			t.Errorf("%s and %s: got %s, want %s", test[0], test[1], got, test[2])
		}
	}
}

// TestAlignedHidesNoLess looks for values that are marked on one side only, in lists whose elements move.
func TestAlignedHidesNoLess(t *testing.T) {
	for seed := range uint64(3000) {
		chance := rand.New(rand.NewPCG(seed, 4))
		n := 1 + chance.IntN(6)
		var sides [2][]any
		var masks [2][]any
		for i := range n {
			for s := range sides {
				marked := chance.IntN(3) == 0
				masks[s] = append(masks[s], marked)
				sides[s] = append(sides[s], fmt.Sprintf("open-%d", chance.IntN(n)))
				if i%2 == 1 {
					masks[s][i] = doc{"v": marked, "k": false}
					sides[s][i] = doc{"v": sides[s][i], "k": fmt.Sprint("open-", i)}
				}
			}
		}
		marked := func(s, i int) bool {
			if d, ok := masks[s][i].(doc); ok {
				return d["v"] == true
			}
			return masks[s][i] == true
		}
		for i := range n { // what either side marks at an index is hidden on both
			if !marked(0, i) && !marked(1, i) {
				continue
			}
			for s := range sides {
				v := fmt.Sprintf("hidden-%d", chance.IntN(n))
				if d, ok := sides[s][i].(doc); ok {
					d["v"] = v
				} else {
					sides[s][i] = v
				}
			}
		}
		change := doc{
			"actions": []any{"update"}, "before": doc{"l": sides[0]}, "after": doc{"l": sides[1]},
			"before_sensitive": doc{"l": masks[0]}, "after_sensitive": doc{"l": masks[1]},
		}
		var b bytes.Buffer
		encode(&b, doc{"format_version": "1.2", "resource_changes": []any{doc{"address": "x.a", "mode": "managed", "type": "x", "change": change}}}, nil)
		p, err := Read(&b, Options{Key: testKey})
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(p.Changes[0].Attributes, func(a plumbline.Attribute) bool {
			return strings.Contains(a.Before+a.After, "hidden-")
		}) {
			t.Fatalf("seed %d: a sensitive value got through:\n%s", seed, dump(p))
		}
	}
}
