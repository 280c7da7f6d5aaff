package report

import (
	"github.com/plumbline/plumbline/internal/diff"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// inAnotherWay is said where a plan does what was approved, by another configuration.
const inAnotherWay = "the same changes, made in another way: settings of a provider, a provisioner, a variable or the engine differ"

// earlier is the newest yes to another plan than the one that waits for approval; nil: there is none.
func earlier(r plumbline.Run) *plumbline.Approval {
	if r.State != plumbline.StateAwaiting || r.Plan == nil {
		return nil
	}
	var newest *plumbline.Approval
	for i, a := range r.Approvals {
		if (a.Digest != r.Plan.Digest || a.Config != r.Plan.Config) && (newest == nil || a.At.After(newest.At)) {
			newest = &r.Approvals[i]
		}
	}
	return newest
}

// sinceLines is how many lines of the difference from an earlier plan stand before the rest of the note. The others come late, so that a long
// difference keeps out nothing that is destroyed, and the end of a very long change in it comes last, as elsewhere.
const sinceLines = 20

// sinceUnits adds the difference from an earlier plan. Its first line brings the summary above it with it.
func sinceUnits(s *section, since []diff.Line) {
	lines, bytes := 0, 0
	fits := func(l diff.Line) bool {
		lines, bytes = lines+1, bytes+len(diffLine(l))+1
		return lines <= sinceLines && bytes <= firstBytes
	}
	for i := 0; i < len(since); {
		n := i + 1
		for n < len(since) && (since[n].Depth > 0 || since[n].Sign == " ") {
			n++
		}
		head, body := rankDrifted, rankDrifted
		if fits(since[i]) {
			head = rankDiffers
		}
		if i == 0 {
			head = rankSince
		}
		at := i + 1
		for at < n && fits(since[at]) {
			at++
		}
		if at > i+1 {
			body = rankDiffers
		} else {
			for size := 0; at < n && size <= firstBytes; at++ {
				size += len(diffLine(since[at])) + 1
			}
		}
		parts, left := [3][]diff.Line{since[i : i+1], since[i+1 : at], since[at:n]}, n-at
		part := func(i int, r rank, k kind, of *piece) *piece {
			return &piece{rank: r, kind: k, of: of, text: func() string { return diffLines(parts[i]) }}
		}
		h := part(0, head, kindDrifted, nil)
		b := part(1, body, kindAttributes, h)
		b.instead = func() string {
			if left == 0 {
				return ""
			}
			return moreLines(left)
		}
		s.pieces = append(s.pieces, h, b, part(2, rankRest, kindRest, b))
		i = n
	}
}
