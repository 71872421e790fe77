package alert

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"strings"
	"time"
)

const (
	amRefresh  = time.Minute     // an open alert is said again so often, as Prometheus does (--rules.alert.resend-delay)
	amLifetime = 5 * time.Minute // and ends by itself if we do not
	amEvent    = time.Hour       // how long an event, which nothing ends, is shown
)

// alertmanager posts to the API v2, to every member: they share silences and notifications among themselves, but not alerts.
type alertmanager struct {
	config AlertmanagerConfig
	client *http.Client
}

func (*alertmanager) name() string      { return "alertmanager" }
func (a *alertmanager) filter() *Filter { return &a.config.Filter }
func (*alertmanager) traits() traits    { return traits{refresh: amRefresh} }

// amAlert is postableAlert of Alertmanager's api/v2/openapi.yaml.
type amAlert struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations,omitempty"`
	StartsAt    time.Time         `json:"startsAt"`
	EndsAt      time.Time         `json:"endsAt"`
}

// AlertName is the label "alertname" of a kind: SparemxPrimaryDown.
func AlertName(k Kind) string {
	var b strings.Builder
	b.WriteString("Sparemx")
	for word := range strings.SplitSeq(string(k), "_") {
		if word != "" {
			b.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return b.String()
}

// amAlerts are the alerts of a message. The labels are made of the notice that opened the incident, since they are what names an alert; when the
// severity, which is one of them, has risen, the alert with the old one is ended.
func amAlerts(m message) []amAlert {
	labels := maps.Clone(m.first.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels["alertname"], labels["instance"], labels["severity"] = AlertName(m.first.Kind), m.host, m.worst.String()
	if m.host == "" {
		delete(labels, "instance")
	}
	for name, value := range labels { // Alertmanager refuses empty values
		if value == "" {
			delete(labels, name)
		}
	}
	alert := amAlert{
		Labels:      labels,
		Annotations: map[string]string{"summary": m.notice.Title, "incident": m.incident},
		StartsAt:    m.first.At.UTC(),
		EndsAt:      m.now.Add(amLifetime).UTC(),
	}
	var text strings.Builder
	text.WriteString(m.notice.Text)
	for _, f := range m.notice.Facts {
		text.WriteString("\n" + f.Name + ": " + f.Value)
	}
	if s := strings.TrimSpace(text.String()); s != "" {
		alert.Annotations["description"] = s
	}
	switch {
	case m.resolved:
		alert.EndsAt = m.now.UTC()
	case m.event == test:
		alert.EndsAt = m.now.Add(time.Minute).UTC()
	case m.first.Kind.event():
		alert.EndsAt = m.now.Add(amEvent).UTC()
	}
	if !alert.StartsAt.Before(alert.EndsAt) { // the clock jumped back
		alert.StartsAt = alert.EndsAt.Add(-time.Second)
	}
	alerts := []amAlert{alert}
	if m.event == raised && m.told != m.worst {
		old := alert
		old.Labels = maps.Clone(labels)
		old.Labels["severity"] = m.told.String()
		old.EndsAt = m.now.UTC()
		alerts = append(alerts, old)
	}
	return alerts
}

func (a *alertmanager) send(ctx context.Context, m message) (receipt, error) {
	body, err := json.Marshal(amAlerts(m))
	if err != nil {
		return receipt{}, &trouble{what: Clean(err.Error(), 300), refused: true}
	}
	var red redactor
	header := http.Header{"Content-Type": {"application/json"}}
	if a.config.User != "" {
		password, err := readSecret(a.config.PasswordFile)
		if err != nil {
			return receipt{}, &trouble{what: Clean("alert.alertmanager.password_file: "+err.Error(), 300)}
		}
		red.hide(password, a.config.User+":"+password)
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(a.config.User+":"+password)))
	}
	if a.config.TokenFile != "" {
		token, err := readSecret(a.config.TokenFile)
		if err != nil {
			return receipt{}, &trouble{what: Clean("alert.alertmanager.token_file: "+err.Error(), 300)}
		}
		red.hide(token)
		header.Set("Authorization", "Bearer "+token)
	}
	// One member that took it is enough: the others get it with the next refresh, and an end that a member missed comes by itself.
	var done []string
	var failed []error
	refused := true
	for _, u := range a.config.URLs {
		red.hideURL(strings.TrimSuffix(u, "/"))
		detail, err := ask(ctx, a.client, http.MethodPost, strings.TrimSuffix(u, "/")+"/api/v2/alerts", header, body, &red)
		if err != nil {
			failed = append(failed, err)
			if tr := (*trouble)(nil); errors.As(err, &tr) && !tr.refused {
				refused = false
			}
			continue
		}
		done = append(done, detail)
	}
	if len(done) == 0 {
		return receipt{}, &trouble{what: Clean(strings.ReplaceAll(errors.Join(failed...).Error(), "\n", "; "), 300), refused: refused}
	}
	r := receipt{detail: done[0]}
	if len(failed) > 0 {
		r.warning = Clean("not told to all: "+strings.ReplaceAll(errors.Join(failed...).Error(), "\n", "; "), 300)
	}
	return r, nil
}
