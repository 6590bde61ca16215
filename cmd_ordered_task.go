package main

// taskQueues keep the records of a task in order: the next one is sent when the one before it is done. A server that got a
// STOP before its START would show a task that never ends.
type taskQueues struct {
	waiting map[string][]*requestLine // by task_id; has a task while one of its records is under way
	ready   []*requestLine            // the record before them is done
}

// hold reports whether a record of the same task is under way. Then next returns l later.
func (q *taskQueues) hold(l *requestLine) bool {
	if l.taskID == "" {
		return false
	}
	waiting, underWay := q.waiting[l.taskID]
	if underWay {
		waiting = append(waiting, l)
	} else if q.waiting == nil {
		q.waiting = make(map[string][]*requestLine)
	}
	q.waiting[l.taskID] = waiting
	return underWay
}

// done makes the next record of the task of l ready.
func (q *taskQueues) done(l *requestLine) {
	if waiting := q.waiting[l.taskID]; len(waiting) > 0 {
		q.ready = append(q.ready, waiting[0])
		q.waiting[l.taskID] = waiting[1:]
	} else {
		delete(q.waiting, l.taskID)
	}
}

// next removes and returns the first record that is ready, or nil.
func (q *taskQueues) next() *requestLine {
	if len(q.ready) == 0 {
		return nil
	}
	l := q.ready[0]
	q.ready = q.ready[1:]
	return l
}

// all returns the records that were held and not returned by next.
func (q *taskQueues) all() []*requestLine {
	all := q.ready
	for _, waiting := range q.waiting {
		all = append(all, waiting...)
	}
	return all
}
