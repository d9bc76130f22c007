// Command keelson is the whole program: the server, its client and its tools.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"keelson/internal/engine/onnxruntime"
	"keelson/internal/engine/python"
	"keelson/internal/pipeline"
)

func main() { os.Exit(program(os.Args[1:])) }

// program runs one command line with this process's streams and gives the exit code.
func program(args []string) int {
	if len(args) > 0 && args[0] == "internal-exec" { // the watcher of a pipeline step, started by the server
		return pipeline.Supervise(args[1:])
	}
	if len(args) > 0 && args[0] == onnxruntime.Word { // the process of a model, started by the server
		return onnxruntime.Child(args[1:])
	}
	if len(args) > 0 && args[0] == "internal-python" { // becomes the process of a model in Python, started by the server
		return python.Launch(args[1:])
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() { // the first signal stops in order, the second one at once; ends with the program
		<-ctx.Done()
		stop()
	}()
	return run(ctx, args, os.Stdin, os.Stdout, os.Stderr, os.Getenv)
}

// run is the program without its process, for tests.
func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer, env func(string) string) int {
	c := newCLI(in, out, errs, env)
	args = joinJSON(args)
	root := c.root()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	return c.fail(ctx, cmd, err)
}
