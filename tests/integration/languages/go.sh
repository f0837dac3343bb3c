# The Go toolchain: compile and run a program with a thousand goroutines, tests with the race of everything, vet, the linker's other ways.
set -euo pipefail
export HOME=$PWD/home GOFLAGS=-mod=mod GOCACHE=$PWD/home/cache GOPROXY=off GOTOOLCHAIN=local
mkdir -p home app && cd app
cat > go.mod <<'M'
module app

go 1.19
M
cat > main.go <<'G'
package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	var wg sync.WaitGroup
	var sum int64
	ch := make(chan int, 10)
	for i := 0; i < 1000; i++ {
		wg.Add(1)
		go func(i int) {
			defer wg.Done()
			time.Sleep(time.Duration(i%10) * time.Millisecond)
			h := sha256.Sum256([]byte{byte(i)})
			atomic.AddInt64(&sum, int64(h[0]))
			ch <- i
		}(i)
	}
	total := 0
	for i := 0; i < 1000; i++ {
		total += <-ch
	}
	wg.Wait()
	fmt.Println("goroutines", total, sum)

	// Many of them in blocking calls at once, so that threads are needed.
	var threads sync.WaitGroup
	for i := 0; i < 50; i++ {
		threads.Add(1)
		go func() {
			defer threads.Done()
			runtime.LockOSThread()
			t := syscall.NsecToTimespec(10_000_000)
			syscall.Nanosleep(&t, nil)
		}()
	}
	threads.Wait()

	l, err := net.Listen("unix", "sock")
	if err != nil {
		panic(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				s := bufio.NewScanner(c)
				for s.Scan() {
					fmt.Fprintln(c, "echo", s.Text())
				}
				c.Close()
			}()
		}
	}()
	var clients sync.WaitGroup
	var good int64
	for i := 0; i < 100; i++ {
		clients.Add(1)
		go func(i int) {
			defer clients.Done()
			c, err := net.Dial("unix", "sock")
			if err != nil {
				fmt.Println(err)
				return
			}
			defer c.Close()
			fmt.Fprintln(c, "line", i)
			line, _ := bufio.NewReader(c).ReadString('\n')
			if line == fmt.Sprintf("echo line %d\n", i) {
				atomic.AddInt64(&good, 1)
			}
		}(i)
	}
	clients.Wait()
	l.Close()
	fmt.Println("clients", good)

	out, err := exec.Command("sh", "-c", "echo from sh; exit 4").Output()
	fmt.Printf("%q %v\n", out, err)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	fmt.Println(exec.CommandContext(ctx, "sleep", "100").Run())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	syscall.Kill(os.Getpid(), syscall.SIGUSR1)
	fmt.Println(<-signals)
	func() {
		defer func() { fmt.Println("recovered:", recover()) }()
		var p *int
		*p = 1
	}()
	var m runtime.MemStats
	blocks := [][]byte{}
	for i := 0; i < 64; i++ {
		blocks = append(blocks, make([]byte, 1<<20))
	}
	runtime.GC()
	runtime.ReadMemStats(&m)
	fmt.Println(len(blocks), m.NumGC > 0, runtime.NumCPU() > 0)
	os.Exit(3)
}
G
cat > main_test.go <<'G'
package main

import "testing"

func TestSum(t *testing.T) {
	for _, n := range []int{1, 2, 3} {
		n := n
		t.Run("sub", func(t *testing.T) { t.Parallel(); if n*n < n { t.Fatal(n) } })
	}
}

func BenchmarkNothing(b *testing.B) { for i := 0; i < b.N; i++ { } }
G
CGO_ENABLED=0 go build -trimpath -o app .
./app || echo "exit $?"
rm -f sock
go vet ./...
CGO_ENABLED=0 go test ./... | sed -E 's/[0-9.]+s$//'
CGO_ENABLED=0 go test -run none -bench . -benchtime 10x ./... | grep -c BenchmarkNothing
GOMAXPROCS=1 ./app | sed -n 1p || true
rm -f sock
gofmt -l .
cat > crash.go <<'G'
//go:build ignore

package main

func main() { var m map[string]int; m["x"] = 1 }
G
go run crash.go 2>/dev/null || echo "crash $?"
cd ..
rm -rf home app/app
