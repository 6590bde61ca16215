package main

// A jobList is a queue that any job can leave: a circle, whose first has the last before it. A job
// is in one list at a time.
type jobList struct {
	first *job
}

func (l *jobList) push(j *job) {
	if l.first == nil {
		l.first, j.older, j.newer = j, j, j
		return
	}
	j.older, j.newer = l.first.older, l.first
	j.older.newer, j.newer.older = j, j
}

func (l *jobList) remove(j *job) {
	j.older.newer, j.newer.older = j.newer, j.older
	if l.first == j {
		if l.first = j.newer; l.first == j {
			l.first = nil
		}
	}
}
