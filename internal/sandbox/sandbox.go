// Package sandbox takes rights away from the process that calls it, for good, before it opens what strangers made:
// privileges (Drop), files, addresses and signals (Files, by Landlock), system calls (Calls, by a filter of the kernel).
// What a kernel does not have is left out; what it has and refuses is an error. Elsewhere than on Linux nothing is taken.
//
// Privileges and the rules for files are those of one thread. A process takes them on the thread that then becomes
// another program (runtime.LockOSThread, syscall.Exec), which has them in all of its threads.
package sandbox

// System is what any program needs of the machine to start.
var System = []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime",
	"/etc/mime.types", "/etc/nsswitch.conf", "/etc/alternatives"}

// Files are the files and folders left to a thread; what is not there is left out. The devices without a state (null,
// zero, full, random, urandom) stay. Binding and connecting by TCP ends, as do, where the kernel can, abstract sockets and
// signals to others.
type Files struct {
	Read  []string // to be read and run
	Write []string // folders to be changed in every way, too
	Rest  []string // as Write, devices included: what is not ours to guard; see Except
	TCP   bool     // binding and connecting by TCP stays
}

// Calls are the system calls left to a process. What no model needs and what would open ways out is always refused, and so
// is memory that no limit of a process counts (memfd_create, the segments and queues of System V).
type Calls struct {
	Unix     bool // sockets of the Unix family; otherwise none at all
	Pairs    bool // without them: pairs of connected stream sockets, which reach nobody else
	Programs bool // other programs and processes; otherwise only threads of this one
	// Apart says that the process is in namespaces of its own, of processes, too, in which there is nobody but what it
	// starts. Otherwise it may neither signal nor change other processes, which are those of the same user, nor leave its
	// process group, by which it is ended; not even what it starts itself can be told from them.
	Apart bool
}
