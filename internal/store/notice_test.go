package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

var chat = plumbline.Sink{Name: "sre", Kind: "slack", On: plumbline.Occasions, Group: 30 * time.Second, Limit: 30}

func notice(sink, key string) plumbline.Notice {
	return plumbline.Notice{
		Sink: sink, Key: key, Occasion: plumbline.OccasionFailed, Severity: plumbline.SeverityError, Subject: "deploy infra/production/" + key,
		Stack: ref(key), Run: 7, What: "failed", Detail: []string{"It broke."}, At: t0,
	}
}

func announce(t testing.TB, s *Store, now time.Time, notices ...plumbline.Notice) int {
	t.Helper()
	return must[int](t)(s.Announce(t.Context(), notices, now))
}

func claimNotices(t testing.TB, s *Store, sink plumbline.Sink, now time.Time) plumbline.Parcel {
	t.Helper()
	return must[plumbline.Parcel](t)(s.ClaimNotices(t.Context(), sink, now, lease))
}

func noticeKeys(p plumbline.Parcel) string {
	var out []string
	for _, n := range p.Notices {
		out = append(out, n.Key)
	}
	return strings.Join(out, " ")
}

func TestNoticesOnce(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		if n := announce(t, s, t0, notice("sre", "a"), notice("sre", "a"), notice("audit", "a")); n != 2 {
			t.Fatalf("%d are new", n)
		}
		if n := announce(t, s, t0, notice("sre", "a"), notice("sre", "b")); n != 1 {
			t.Fatalf("%d are new", n)
		}
		p := claimNotices(t, s, chat, t0.Add(time.Minute))
		if noticeKeys(p) != "a b" {
			t.Fatalf("claimed %s", noticeKeys(p))
		}
		want := notice("sre", "a")
		want.ID = p.Notices[0].ID
		if got := p.Notices[0]; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%+v\nwant %+v", got, want)
		}
		if err := s.NoticesSent(t.Context(), p, t0.Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		// However it ended, it is not told again.
		if n := announce(t, s, t0, notice("sre", "a")); n != 0 {
			t.Errorf("%d are new of what was sent", n)
		}
		if p := claimNotices(t, s, chat, t0.Add(time.Hour)); p.Claim != 0 || !p.Again.IsZero() {
			t.Errorf("%+v after all was sent", p)
		}
		if p := claimNotices(t, s, plumbline.Sink{Name: "audit"}, t0); noticeKeys(p) != "a" {
			t.Errorf("the other sink has %s", noticeKeys(p))
		}
		if _, err := s.Announce(t.Context(), []plumbline.Notice{notice("sre", "a\x00")}, t0); !errors.Is(err, plumbline.ErrInvalid) {
			t.Errorf("a key that is no text: %v", err)
		}
	})
}

func TestNoticesGather(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		announce(t, s, t0, notice("sre", "a"))
		if p := claimNotices(t, s, chat, t0.Add(time.Second)); p.Claim != 0 || !p.Again.Equal(t0.Add(chat.Group)) {
			t.Fatalf("%+v within the window", p)
		}
		announce(t, s, t0.Add(29*time.Second), notice("sre", "b"))
		if p := claimNotices(t, s, chat, t0.Add(chat.Group)); noticeKeys(p) != "a b" {
			t.Fatalf("claimed %q when the window of the first has closed", noticeKeys(p))
		}
		// While they are on their way, what comes has a window of its own.
		announce(t, s, t0.Add(31*time.Second), notice("sre", "c"))
		if p := claimNotices(t, s, chat, t0.Add(40*time.Second)); p.Claim != 0 || !p.Again.Equal(t0.Add(chat.Group+lease)) {
			t.Errorf("%+v, want to come again when the first claim is over", p)
		}
		if p := claimNotices(t, s, chat, t0.Add(61*time.Second)); noticeKeys(p) != "a b c" {
			t.Errorf("claimed %q after the first claim was given up", noticeKeys(p))
		}
	})
}

func TestNoticesParcelsAreBounded(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		s, parcel := open(t, dsn), chat.Parcel()
		var all []plumbline.Notice
		for i := range parcel + 1 {
			all = append(all, notice("sre", fmt.Sprintf("n%03d", i)))
		}
		announce(t, s, t0, all...)
		p := claimNotices(t, s, chat, t0) // so many that nobody waits for more
		if len(p.Notices) != parcel {
			t.Fatalf("%d in a parcel", len(p.Notices))
		}
		if err := s.NoticesSent(t.Context(), p, t0); err != nil {
			t.Fatal(err)
		}
		if p := claimNotices(t, s, chat, t0.Add(chat.Group)); noticeKeys(p) != fmt.Sprintf("n%03d", parcel) {
			t.Errorf("then %q", noticeKeys(p))
		}
		pager := plumbline.Sink{Name: "pager", Kind: "pagerduty"}
		announce(t, s, t0, notice("pager", "a"), notice("pager", "b"), notice("pager", "c"))
		for _, want := range []string{"a", "b", "c"} {
			p := claimNotices(t, s, pager, t0)
			if noticeKeys(p) != want {
				t.Fatalf("%q, want %s alone", noticeKeys(p), want)
			}
			if _, _, err := s.NoticesFailed(t.Context(), p, "refused", true, time.Time{}, t0); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestNoticesCrash: a sender that is not heard of again has its notices sent once more, and finds its claim gone when it comes back.
func TestNoticesCrash(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		s, other := open(t, dsn), open(t, dsn)
		announce(t, s, t0, notice("sre", "a"))
		at := t0.Add(chat.Group)
		first := claimNotices(t, s, chat, at)
		if p := claimNotices(t, other, chat, at.Add(lease-time.Second)); p.Claim != 0 || !p.Again.Equal(at.Add(lease)) {
			t.Fatalf("%+v while somebody else sends", p)
		}
		second := claimNotices(t, other, chat, at.Add(lease))
		if noticeKeys(second) != "a" || plumbline.MessageKey(second.Notices) != plumbline.MessageKey(first.Notices) {
			t.Fatalf("%+v after the lease, want the same message", second)
		}
		if err := s.NoticesSent(t.Context(), first, at.Add(lease)); !errors.Is(err, plumbline.ErrLost) {
			t.Errorf("the late one: %v", err)
		}
		if _, _, err := s.NoticesFailed(t.Context(), first, "late", true, time.Time{}, at.Add(lease)); !errors.Is(err, plumbline.ErrLost) {
			t.Errorf("the late one: %v", err)
		}
		if err := other.NoticesSent(t.Context(), second, at.Add(lease)); err != nil {
			t.Fatal(err)
		}
		if st := must[plumbline.SinkStatus](t)(s.SinkStatus(t.Context(), "sre")); st != (plumbline.SinkStatus{Name: "sre", Sent: 1}) {
			t.Errorf("%+v", st)
		}
		if err := s.NoticesSent(t.Context(), plumbline.Parcel{Sink: "sre"}, at); !errors.Is(err, plumbline.ErrInvalid) {
			t.Errorf("a parcel that nobody claimed: %v", err)
		}
	})
}

// TestNoticesTwoSenders has daemons that announce the same things and send them at the same time.
func TestNoticesTwoSenders(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		const senders, things = 4, 60
		free := plumbline.Sink{Name: "sre"}
		var (
			mu   sync.Mutex
			sent []string
			wg   sync.WaitGroup
			left = make(chan struct{}, things)
		)
		stores := make([]*Store, senders)
		for i := range stores {
			stores[i] = open(t, dsn)
		}
		for i, s := range stores {
			wg.Go(func() {
				for n := range things {
					added, err := s.Announce(t.Context(), []plumbline.Notice{notice("sre", fmt.Sprint("n", n))}, t0)
					if err != nil {
						t.Error(err)
						return
					}
					for range added {
						left <- struct{}{}
					}
					p, err := s.ClaimNotices(t.Context(), free, t0.Add(time.Duration(i)*time.Millisecond), lease)
					if err != nil {
						t.Error(err)
						return
					}
					if p.Claim == 0 {
						continue
					}
					mu.Lock()
					for _, n := range p.Notices {
						sent = append(sent, n.Key)
					}
					mu.Unlock()
					if err := s.NoticesSent(t.Context(), p, t0); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		if len(left) != things {
			t.Errorf("%d of %d things were new to somebody", len(left), things)
		}
		for _, n := range claimNotices(t, stores[0], free, t0).Notices {
			sent = append(sent, n.Key)
		}
		slices.Sort(sent)
		if len(sent) != things || len(slices.Compact(slices.Clone(sent))) != things {
			t.Errorf("%d sent: %v", len(sent), sent)
		}
	})
}

func TestNoticesFail(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		announce(t, s, t0, notice("sre", "a"))
		fail := func(now time.Time, forGood bool, pause time.Time) (time.Time, int) {
			t.Helper()
			p := claimNotices(t, s, plumbline.Sink{Name: "sre"}, now)
			if p.Claim == 0 {
				t.Fatalf("nothing to send at %s: %+v", now, p)
			}
			until, lost, err := s.NoticesFailed(t.Context(), p, "it answers 503", forGood, pause, now)
			if err != nil {
				t.Fatal(err)
			}
			return until, lost
		}
		until, lost := fail(t0, false, time.Time{})
		if lost != 0 || !until.Equal(t0.Add(10*time.Second)) {
			t.Fatalf("until %s, %d given up", until, lost)
		}
		if p := claimNotices(t, s, plumbline.Sink{Name: "sre"}, until.Add(-time.Second)); p.Claim != 0 || !p.Again.Equal(until) || p.Why != "it answers 503" {
			t.Fatalf("%+v while the sink is left alone", p)
		}
		// Other sinks are not.
		announce(t, s, t0, notice("audit", "a"))
		if p := claimNotices(t, s, plumbline.Sink{Name: "audit"}, t0); p.Claim == 0 {
			t.Error("one sink holds up another")
		}
		// The sink says when it wants to be asked again.
		asked := until.Add(20 * time.Minute)
		if until, _ = fail(until, false, asked); !until.Equal(asked) {
			t.Fatalf("until %s, asked for %s", until, asked)
		}
		// What comes later is in the same message, with tries of its own.
		announce(t, s, until, notice("sre", "b"))
		begun := until
		for i := 3; i <= plumbline.NoticeTries; i++ {
			until, lost = fail(until, false, time.Time{})
			if (lost == 1) != (i == plumbline.NoticeTries) {
				t.Fatalf("%d given up after %d tries", lost, i)
			}
		}
		if took := until.Sub(begun); took < 6*time.Hour || took > 12*time.Hour {
			t.Errorf("given up after %s", took)
		}
		st := must[plumbline.SinkStatus](t)(s.SinkStatus(t.Context(), "sre"))
		if st.Waiting != 1 || st.GivenUp != 1 || st.Lost != "it answers 503" || st.Failures != plumbline.NoticeTries || !st.Paused.Equal(until) {
			t.Errorf("%+v", st)
		}
		// What the sink will never take is given up at once, and holds nobody up.
		if _, lost = fail(until, true, time.Time{}); lost != 1 {
			t.Errorf("%d given up", lost)
		}
		announce(t, s, until, notice("sre", "c"))
		p := claimNotices(t, s, plumbline.Sink{Name: "sre"}, until)
		if noticeKeys(p) != "c" {
			t.Fatalf("%+v after a message that was refused", p)
		}
		if err := s.NoticesSent(t.Context(), p, until); err != nil {
			t.Fatal(err)
		}
		st = must[plumbline.SinkStatus](t)(s.SinkStatus(t.Context(), "sre"))
		if st.Failures != 0 || st.Reason != "" || !st.Paused.IsZero() || st.GivenUp != 2 || st.Sent != 1 {
			t.Errorf("%+v after a message that arrived", st)
		}
	})
}

func TestNoticesLimit(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		sink := plumbline.Sink{Name: "sre", Limit: 4}
		now, messages := t0, []time.Time(nil)
		for i := range 200 {
			announce(t, s, now, notice("sre", fmt.Sprint("n", i)))
			if p := claimNotices(t, s, sink, now); p.Claim != 0 {
				messages = append(messages, now)
				if err := s.NoticesSent(t.Context(), p, now); err != nil {
					t.Fatal(err)
				}
			} else if !p.Again.After(now) || p.Why == "" {
				t.Fatalf("%+v beyond the limit", p)
			}
			now = now.Add(time.Minute)
		}
		for i, at := range messages {
			n := 0
			for _, m := range messages[i:] {
				if m.Sub(at) < time.Hour {
					n++
				}
			}
			if n > sink.Limit {
				t.Errorf("%d messages in the hour from %s", n, at)
			}
		}
		if len(messages) < 8 {
			t.Errorf("only %d messages in 200 minutes", len(messages))
		}
	})
}

func TestNoticesSweep(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		announce(t, s, t0, notice("sre", "a"), notice("gone", "b"))
		p := claimNotices(t, s, plumbline.Sink{Name: "sre"}, t0)
		if err := s.NoticesSent(t.Context(), p, t0); err != nil {
			t.Fatal(err)
		}
		if lost, forgotten, err := s.SweepNotices(t.Context(), t0.Add(plumbline.NoticeStale), t0); err != nil || lost+forgotten != 0 {
			t.Fatalf("%d given up, %d forgotten, %v; want nothing yet", lost, forgotten, err)
		}
		later := t0.Add(plumbline.NoticeStale + time.Second)
		if lost, forgotten, err := s.SweepNotices(t.Context(), later, t0.Add(time.Second)); err != nil || lost != 1 || forgotten != 1 {
			t.Fatalf("%d given up, %d forgotten, %v", lost, forgotten, err)
		}
		st := must[plumbline.SinkStatus](t)(s.SinkStatus(t.Context(), "gone"))
		if st.GivenUp != 1 || st.Lost != "nobody has sent it" {
			t.Errorf("%+v", st)
		}
	})
}

// TestNoticesPoison: one notice that a sink will never take costs no other.
func TestNoticesPoison(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		sink := plumbline.Sink{Name: "sre"}
		announce(t, s, t0, notice("sre", "a"), notice("sre", "poison"), notice("sre", "b"))
		var sent, lost []string
		for range 20 {
			p := claimNotices(t, s, sink, t0)
			if p.Claim == 0 {
				break
			}
			if strings.Contains(noticeKeys(p), "poison") {
				until, n, err := s.NoticesFailed(t.Context(), p, "it answers 400", true, time.Time{}, t0)
				if err != nil || !until.Equal(t0) {
					t.Fatalf("until %s, %v", until, err)
				}
				if n > 0 {
					lost = append(lost, noticeKeys(p))
				}
				announce(t, s, t0, notice("sre", "later"))
				continue
			}
			sent = append(sent, noticeKeys(p))
			if err := s.NoticesSent(t.Context(), p, t0); err != nil {
				t.Fatal(err)
			}
		}
		if fmt.Sprint(sent) != "[a b later]" || fmt.Sprint(lost) != "[poison]" {
			t.Errorf("sent %q, given up %q", sent, lost)
		}
	})
}
