package main

// secrets are what a reply must not show.
func (s *session) secrets() []string {
	secrets := s.request.secrets()
	for _, k := range s.keys {
		secrets = append(secrets, k.value)
	}
	return secrets
}

// redact takes our secrets out of the texts of a reply, before anybody sees them.
func (s *session) redact(texts []field) {
	if s.unredacted {
		return
	}
	var secrets []string
	for _, f := range texts {
		if *f.value == "" {
			continue
		}
		if secrets == nil {
			secrets = s.secrets()
		}
		*f.value = redact(*f.value, secrets)
	}
}
