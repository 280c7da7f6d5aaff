package report

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// reactor is a forge on which a comment can be reacted to.
type reactor interface {
	React(ctx context.Context, mr plumbline.MergeRequest, comment string, r plumbline.Reaction) error
}

// maxAnswer is how much of an answer is told, in bytes; the rest is on Plumbline's pages.
const maxAnswer = 4000

// answers tells people what came of their commands: with a reaction to their comment, and in words where a sign is not enough. Doing it again after a
// crash changes nothing: the words are a note with a marker of its own.
func (r *Reporter) answers(ctx context.Context) (told int, err error) {
	list, err := r.c.Ledger.Unanswered(ctx, r.c.Repository.Name)
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, c := range list {
		if err := r.answer(ctx, c); err != nil {
			errs = append(errs, fmt.Errorf("answer to %s on merge request %s: %w", c.Verb, c.MR, err))
			if !gone(err) {
				continue
			}
		} else {
			told++
		}
		if err := r.c.Ledger.Answered(ctx, c.ID); err != nil && !errors.Is(err, plumbline.ErrConflict) {
			errs = append(errs, err)
		}
	}
	return told, errors.Join(errs...)
}

func (r *Reporter) answer(ctx context.Context, c plumbline.Command) error {
	mr, err := r.c.Ledger.MergeRequest(ctx, r.c.Repository.Name, c.MR)
	if err != nil {
		return err
	}
	says, sign := c.Answer, false
	if f, ok := r.c.Forge.(reactor); ok {
		err := f.React(ctx, mr, c.Comment, c.Outcome)
		if err != nil && !errors.Is(err, plumbline.ErrDenied) { // reactions may be closed to us where words are not
			return err
		}
		sign = err == nil
	}
	if says == "" && !sign {
		says = "Done: `plumbline " + strings.ReplaceAll(strings.Join(append([]string{string(c.Verb)}, c.Args...), " "), "`", "") + "`."
	}
	if says == "" {
		return nil
	}
	marker, v := Marker(mr.Repository, answerID(c)), inMarkdown
	if p, ok := r.c.Forge.(plainer); ok && p.Plain() {
		marker, v = PlainMarker(mr.Repository, answerID(c)), inPlain
	}
	return r.c.Forge.UpsertNote(ctx, mr, marker, Answer(c.Login, says, marker, v.plain))
}

// answerID is what the marker of an answer names in place of a merge request.
func answerID(c plumbline.Command) string { return c.MR + " answer " + c.Comment }

// Answer is the text of a note that answers somebody. Parts between backticks are code; nothing else in it is Markdown, whoever had a hand in it.
func Answer(to, says, marker string, plain bool) string {
	v := inMarkdown
	if plain {
		v = inPlain
	}
	var paragraphs []string
	if name := mention(to); name != "" {
		paragraphs = append(paragraphs, "@"+name)
	}
	size := 0
	for p := range strings.SplitSeq(says, "\n\n") {
		p = v.cell(p)
		if size += len(p); size > maxAnswer {
			paragraphs = append(paragraphs, "There is more on Plumbline's pages.")
			break
		}
		paragraphs = append(paragraphs, p)
	}
	body := strings.Join(paragraphs, "\n\n")
	if plain { // which shows only after a blank line that it is a definition
		return body + "\n\n" + marker
	}
	return marker + "\n" + body
}

// mention is a name that can be called with an @; "" where it is none.
func mention(login string) string {
	if login == "" || len(login) > 100 || strings.Trim(login, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != "" {
		return ""
	}
	return login
}
