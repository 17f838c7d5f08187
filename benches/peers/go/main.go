// The workloads in Go: `workloads WORKLOAD [key=value ...]`, with the output of engset's own `workloads`.
//
// A process is a goroutine with a channel. Messages carry one 64-bit number. Channels have no buffer where one message is
// in flight, as is usual in Go; `pairs` has the window as its buffer, `fanin` the bound that it is given. There is no
// unbounded mailbox, and no supervision: those workloads end with code 3.
package main

import (
	"fmt"
	"math"
	"math/rand"
	"os"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"time"
)

var options = map[string]int{}

// number is the value of a key, or its default.
func number(key string, value int) int {
	if given, ok := options[key]; ok {
		return given
	}
	return value
}

func fail(code int, text string) {
	fmt.Fprintln(os.Stderr, text)
	os.Exit(code)
}

func check(got, expected int64) {
	if got != expected {
		fail(1, fmt.Sprintf("%d came instead of %d", got, expected))
	}
}

func figure(workload, name string, value float64, unit string) {
	fmt.Printf("%s %s %.2f %s\n", workload, name, value, unit)
}

func rate(workload, name string, count int, d time.Duration, unit string) {
	figure(workload, name, float64(count)/d.Seconds(), unit)
}

func each(workload, name string, count int, d time.Duration) {
	figure(workload, name, float64(d.Nanoseconds())/float64(count), "ns")
}

func main() {
	if len(os.Args) < 2 {
		fail(2, "Usage: workloads WORKLOAD [key=value ...]")
	}
	for _, arg := range os.Args[2:] {
		key, text, _ := strings.Cut(arg, "=")
		value, err := strconv.Atoi(text)
		if err != nil {
			fail(2, arg+": a number is needed")
		}
		options[key] = value
	}
	if threads := number("threads", 0); threads > 0 {
		runtime.GOMAXPROCS(threads)
	}
	switch workload := os.Args[1]; workload {
	case "spawn":
		spawn()
	case "idle":
		idle()
	case "pingpong":
		n := number("n", 2000000)
		each(workload, "rtt", n, pairs(1, n, 1))
	case "pairs":
		count, n := number("pairs", 64), number("n", 200000)
		rate(workload, "rate", 2*count*n, pairs(count, n, number("window", 100)), "msgs/s")
	case "fanin":
		fanin()
	case "ring":
		ring(workload, number("size", 503), number("hops", 5000000))
	case "bigring":
		ring(workload, number("size", 100000), number("hops", 2000000))
	case "big":
		big()
	case "skynet":
		skynet()
	case "call":
		call()
	case "timers":
		timers()
	case "hog":
		hog()
	case "monitor", "restart", "crash":
		fail(3, "Go has neither monitors nor supervisors")
	default:
		fail(3, "the program for Go has no such workload")
	}
}

func collect(from <-chan int64, n int) int64 {
	var sum int64
	for i := 0; i < n; i++ {
		sum += <-from
	}
	return sum
}

func sumTo(n int) int64 { return int64(n) * int64(n+1) / 2 }

func spawn() {
	n := number("n", 1000000)
	start := time.Now()
	collector := make(chan int64, 1)
	go func() {
		for i := 1; i <= n; i++ {
			go func(i int64) {
				mailbox := make(chan int64, 1)
				_ = mailbox
				collector <- i
			}(int64(i))
		}
	}()
	check(collect(collector, n), sumTo(n))
	rate("spawn", "rate", n, time.Since(start), "spawns/s")
}

// resident is the memory of this program, in bytes.
func resident() float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		fail(1, err.Error())
	}
	for _, line := range strings.Split(string(status), "\n") {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "VmRSS:" {
			kilobytes, err := strconv.Atoi(fields[1])
			if err != nil {
				fail(1, err.Error())
			}
			return float64(kilobytes) * 1024
		}
	}
	fail(1, "/proc/self/status tells no VmRSS")
	return 0
}

func idle() {
	n := number("n", 1000000)
	before, start := resident(), time.Now()
	collector := make(chan int64, 1)
	go func() {
		for i := 1; i <= n; i++ {
			mailbox := make(chan int64)
			go func() {
				for number := range mailbox {
					collector <- number
				}
			}()
			mailbox <- int64(i)
		}
	}()
	check(collect(collector, n), sumTo(n))
	d := time.Since(start)
	figure("idle", "bytes", (resident()-before)/float64(n), "bytes/process")
	rate("idle", "rate", n, d, "spawns/s")
}

func pairs(count, n, window int) time.Duration {
	buffer := window
	if window == 1 {
		buffer = 0
	}
	start := time.Now()
	finished := make(chan int64)
	for i := 0; i < count; i++ {
		pings, pongs := make(chan int64, buffer), make(chan int64, buffer)
		go func() {
			for number := range pings {
				pongs <- number
			}
		}()
		go func() {
			sent := 0
			for ; sent < window && sent < n; sent++ {
				pings <- int64(sent)
			}
			for i := 0; i < n; i++ {
				check(<-pongs, int64(i))
				if sent < n {
					pings <- int64(sent)
					sent++
				}
			}
			finished <- 1
		}()
	}
	collect(finished, count)
	return time.Since(start)
}

func fanin() {
	senders, n, bound := number("senders", 64), number("n", 200000), number("bound", 0)
	if bound == 0 {
		fail(3, "channels of Go are bounded")
	}
	start := time.Now()
	mailbox := make(chan int64, bound)
	for i := 0; i < senders; i++ {
		go func() {
			for number := 1; number <= n; number++ {
				mailbox <- int64(number)
			}
		}()
	}
	check(collect(mailbox, senders*n), int64(senders)*sumTo(n))
	rate("fanin", "rate", senders*n, time.Since(start), "msgs/s")
}

func ring(workload string, size, hops int) {
	finished, first := make(chan int64), make(chan int64)
	mailbox := first
	for i := 1; i <= size; i++ {
		next := first
		if i < size {
			next = make(chan int64)
		}
		go func(mailbox <-chan int64, next chan<- int64) {
			for left := range mailbox {
				if left == 0 {
					finished <- 0
				} else {
					next <- left - 1
				}
			}
		}(mailbox, next)
		mailbox = next
	}
	first <- int64(size) // a lap that does not count
	<-finished
	start := time.Now()
	first <- int64(hops)
	<-finished
	each(workload, "hop", hops, time.Since(start))
}

type message struct {
	pong   bool
	from   int
	number int
}

func big() {
	n, pings := number("n", 512), number("pings", 2000)
	finished := make(chan int64, n)
	mailboxes, randoms := make([]chan message, n), make([]*rand.Rand, n)
	for i := range mailboxes {
		randoms[i] = rand.New(rand.NewSource(int64(i)))
		// A ping of each of the others and a pong at most: nobody ever waits to send, so there is no deadlock.
		mailboxes[i] = make(chan message, n)
	}
	start := time.Now()
	for place := range mailboxes {
		go func(place int) {
			random, sent := randoms[place], 0
			ping := func() {
				other := random.Intn(n - 1)
				if other >= place {
					other++
				}
				sent++
				mailboxes[other] <- message{from: place, number: sent}
			}
			ping()
			for m := range mailboxes[place] {
				switch {
				case !m.pong:
					mailboxes[m.from] <- message{pong: true, number: m.number}
				case sent == pings:
					finished <- 1
				default:
					check(int64(m.number), int64(sent))
					ping()
				}
			}
		}(place)
	}
	collect(finished, n)
	rate("big", "rate", 2*n*pings, time.Since(start), "msgs/s")
}

func subtree(parent chan<- int64, first, size int64) {
	if size == 1 {
		parent <- first
		return
	}
	mailbox := make(chan int64, 10)
	for child := int64(0); child < 10; child++ {
		go subtree(mailbox, first+child*(size/10), size/10)
	}
	parent <- collect(mailbox, 10)
}

func skynet() {
	size := int64(1)
	for i := 0; i < number("depth", 6); i++ {
		size *= 10
	}
	start := time.Now()
	root := make(chan int64)
	go subtree(root, 0, size)
	check(<-root, size*(size-1)/2)
	figure("skynet", "time", float64(time.Since(start).Nanoseconds())/1e6, "ms")
}

type request struct {
	number int64
	reply  chan<- int64
}

func server() chan<- request {
	mailbox := make(chan request)
	go func() {
		for request := range mailbox {
			request.reply <- request.number
		}
	}()
	return mailbox
}

// ask is a call with a timeout of 5 s.
func ask(server chan<- request, number int64) {
	reply := make(chan int64, 1)
	server <- request{number, reply}
	timer := time.NewTimer(5 * time.Second)
	select {
	case answer := <-reply:
		timer.Stop()
		check(answer, number)
	case <-timer.C:
		fail(1, "no answer")
	}
}

func call() {
	n, server := number("n", 500000), server()
	calls := func(n int) {
		for i := 0; i < n; i++ {
			ask(server, int64(i))
		}
	}
	calls(1000)
	start := time.Now()
	calls(n)
	each("call", "rtt", n, time.Since(start))
}

func timers() {
	n := number("n", 1000000)
	random := rand.New(rand.NewSource(1))
	times := make([]time.Duration, n)
	for i := range times {
		times[i] = time.Duration(1+random.Intn(60000)) * time.Millisecond
	}
	mailbox, set := make(chan int64, n), make([]*time.Timer, n)
	start := time.Now()
	for i := range times {
		i := i
		set[i] = time.AfterFunc(times[i], func() { mailbox <- int64(i) })
	}
	setting := time.Since(start)
	start = time.Now()
	for i, timer := range set {
		if i%10 != 9 {
			timer.Stop()
		}
	}
	cancelling := time.Since(start)
	rate("timers", "set", n, setting, "timers/s")
	rate("timers", "cancel", n-n/10, cancelling, "timers/s")
}

func computeForEver(x uint64) {
	for {
		x = (x ^ x>>33) * 0xFF51AFD7ED558CCD
		x ^= x >> 29
	}
}

func hog() {
	for i := 0; i < number("hogs", 4); i++ {
		go computeForEver(uint64(i))
	}
	time.Sleep(200 * time.Millisecond)
	server := server()
	latencies := []float64{}
	for start := time.Now(); time.Since(start) < time.Duration(number("seconds", 5))*time.Second; {
		time.Sleep(time.Millisecond)
		awake := time.Now()
		ask(server, 1)
		latencies = append(latencies, float64(time.Since(awake).Nanoseconds())/1e3)
	}
	sort.Float64s(latencies)
	at := func(share float64) float64 { return latencies[int(math.Ceil(float64(len(latencies))*share))-1] }
	figure("hog", "p50", at(0.5), "us")
	figure("hog", "p99", at(0.99), "us")
	figure("hog", "max", at(1), "us")
	figure("hog", "done", float64(len(latencies)), "calls")
}
