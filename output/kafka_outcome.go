package output

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
)

// fail notes the outcome of one of w's records.
func (w *kafkaWork) fail(r *kgo.Record, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for range w.recs { // mostly errors come in the order of the records
		i := w.next
		if w.next++; w.next == len(w.recs) {
			w.next = 0
		}
		if &w.recs[i] == r {
			w.errs[i] = err
			return
		}
	}
}

// judge turns the outcomes into the result.
func (o *Kafka) judge(ctx context.Context, g *kafkaClient, w *kafkaWork, parts []record.Part) (ack.Result, error) {
	res := ack.Result{Bytes: w.size}
	at := walker{parts: parts}
	worst, failed := error(nil), 0
	kind := ack.Retry
	lacking := o.lacking(w)
	for k, err := range w.errs {
		if err == nil {
			continue
		}
		failed++
		kd, permanent := kafkaKind(err)
		reason := kafkaReason(err)
		if errors.Is(err, kerr.UnknownTopicOrPartition) {
			permanent = lacking[w.recs[k].Topic]
			reason = fmt.Sprintf("%s: there is no topic %s; create it, or set allow_auto_create: true", reason, w.recs[k].Topic)
		}
		if worst == nil || severity(kd) > severity(kind) {
			worst, kind = err, kd
		}
		f := ack.Failure{Permanent: permanent, Reason: reason}
		f.Part, f.Record = at.at(k)
		res.Failures = append(res.Failures, f)
	}
	switch {
	case failed == 0:
		return res, nil
	case failed < len(w.errs):
		// What a whole batch was refused for is tried again without the others.
		return res, nil
	case kind == ack.Retry && allPermanent(res.Failures):
		return res, nil
	}
	se := o.explain(ctx, g, worst)
	if se.Kind == ack.Retry {
		se.Kind = kind
	}
	return ack.Result{}, se
}

// lackingFor is how long brokers must say that there is no topic of a name that
// the records themselves made before its records are dead letters: brokers that
// start say so too for a while. Until then they wait, and hold room that others
// may need; for ever would stop everything.
const lackingFor = time.Minute

// lacking notes which topics are there and which are not, and returns those that
// have not been for long.
func (o *Kafka) lacking(w *kafkaWork) (long map[string]bool) {
	if o.topic.Const() {
		return nil // the configuration is wrong, not the records
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.conf.Now()
	for k, err := range w.errs {
		name := w.recs[k].Topic
		switch {
		case err == nil:
			if len(o.missing) > 0 {
				delete(o.missing, name)
			}
		case errors.Is(err, kerr.UnknownTopicOrPartition):
			since, ok := o.missing[name]
			if !ok {
				if len(o.missing) >= 1<<14 {
					clear(o.missing)
				}
				o.missing[name] = now
			} else if now.Sub(since) >= lackingFor {
				if long == nil {
					long = make(map[string]bool)
				}
				long[name] = true
			}
		}
	}
	return long
}

func allPermanent(fs []ack.Failure) bool {
	for _, f := range fs {
		if !f.Permanent {
			return false
		}
	}
	return true
}

// kafkaKind says what a record's error means if all of its request have one like
// it; permanent says that this very record will be refused again.
func kafkaKind(err error) (kind ack.ErrorKind, permanent bool) {
	switch {
	case errors.Is(err, errTooLong), errors.Is(err, kerr.InvalidTopicException):
		return ack.Retry, true
	case errors.Is(err, kerr.MessageTooLarge), errors.Is(err, kerr.RecordListTooLarge):
		return ack.TooLarge, false
	case errors.Is(err, kerr.InvalidRecord), errors.Is(err, kerr.InvalidTimestamp), errors.Is(err, kerr.PolicyViolation):
		return ack.Rejected, false
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed),
		errors.Is(err, kerr.SaslAuthenticationFailed), errors.Is(err, kerr.UnsupportedSaslMechanism),
		errors.Is(err, kerr.IllegalSaslState), errors.Is(err, kerr.TransactionalIDAuthorizationFailed):
		return ack.Unauthorized, false
	}
	return ack.Retry, false
}

// isFatal reports whether the producer is of no use any more.
func isFatal(err error) bool {
	for _, k := range []error{
		kerr.ProducerFenced, kerr.InvalidProducerEpoch, kerr.InvalidProducerIDMapping, kerr.OutOfOrderSequenceNumber,
		kerr.UnknownProducerID, kgo.ErrClientClosed,
	} {
		if errors.Is(err, k) {
			return true
		}
	}
	var loss *kgo.ErrDataLoss
	return errors.As(err, &loss)
}

// kafkaReason is what may be told of a record's error.
func kafkaReason(err error) string {
	var ke *kerr.Error
	switch {
	case errors.As(err, &ke):
		return ke.Message
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case errors.Is(err, context.Canceled):
		return "given up"
	}
	return plainReason(err.Error())
}

// explain says what err means for a whole request, and what to do.
func (o *Kafka) explain(ctx context.Context, g *kafkaClient, err error) *ack.SendError {
	if errors.Is(err, context.Canceled) && errors.Is(context.Cause(ctx), context.Canceled) {
		return &ack.SendError{Kind: ack.Retry, Err: fmt.Errorf("%s: %w", o, err)}
	}
	late := errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
	cause := err
	if late || errors.Is(err, kgo.ErrRecordRetries) || errors.Is(err, kgo.ErrRecordTimeout) {
		if t := g.last.recent(2 * o.conf.Timeout); t != nil {
			cause = t
		}
	}
	e := &ack.SendError{}
	e.Kind, _ = kafkaKind(cause)
	var ke *kerr.Error
	what := ""
	if errors.As(cause, &ke) {
		e.Code, what = int(ke.Code), ke.Message
	} else {
		what = plainReason(cause.Error())
	}
	switch {
	case e.Kind == ack.Unauthorized && errors.Is(cause, kerr.SaslAuthenticationFailed):
		what += "; credentials are wrong: check sasl"
	case e.Kind == ack.Unauthorized:
		what += "; the user may not do this: it needs WRITE and DESCRIBE on the topic and IDEMPOTENT_WRITE on the cluster"
	case errors.Is(cause, kerr.UnknownTopicOrPartition):
		what += "; create the topic, or set allow_auto_create: true"
	case errors.Is(cause, kerr.NotEnoughReplicas), errors.Is(cause, kerr.NotEnoughReplicasAfterAppend):
		what += "; fewer brokers are in sync than the topic's min.insync.replicas"
	}
	if late && what != "" {
		e.Err = fmt.Errorf("%s: %s: %w", o, what, errAttemptTimeout)
	} else {
		e.Err = fmt.Errorf("%s: %s", o, what)
	}
	if e.Kind == ack.Unauthorized {
		o.files.look()
	}
	return e
}
