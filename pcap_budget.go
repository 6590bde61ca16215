package main

// A budget bounds the memory that one holder retains, in bytes. A holder counts capacities and what surrounds them, not
// lengths: a slice of one byte may retain 64 KiB.
type budget struct{ limit, used int }

// exceeds reports whether n more bytes are over the limit.
func (b *budget) exceeds(n int) bool { return b.used+n > b.limit }

// The memory that decode retains, by holder. The collector of garbage may let the process take twice as much.
const (
	budgetConversations = 24 << 20 // TCP conversations and their streams
	budgetHeld          = 4 << 20  // segments that wait for preceding ones
	budgetPartial       = 4 << 20  // incomplete packets
	budgetSessions      = 8 << 20  // open sessions and the packets that they refer to
	budgetTLS           = 4 << 20  // TLS conversations and their records
	budgetKeys          = 16 << 20 // candidate keys and secrets of TLS
	budgetBuffers       = 4 << 20  // input, and batches between goroutines

	budgetAll = 64 << 20
)
