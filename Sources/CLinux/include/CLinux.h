#pragma once
// The system calls of the reactor that Swift's Glibc module does not offer (epoll, eventfd, inotify, accept4,
// peer credentials), and a signal handler, which must not be Swift code. Every function retries on EINTR and
// returns the call's result or -errno.
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

// What linux_epoll_wait reports, in `struct linux_event.ready`.
enum {
    LINUX_READABLE = 1,
    LINUX_WRITABLE = 2,
    LINUX_PEER_CLOSED = 4,  // EPOLLRDHUP or EPOLLHUP: read until the end
    LINUX_FAILED = 8,       // EPOLLERR: SO_ERROR has the reason
};

struct linux_event {
    uint64_t label;
    uint32_t ready;
};

// The most events that one linux_epoll_wait returns.
enum { LINUX_EVENTS = 512 };

int linux_epoll_open(void);
// Edge-triggered, once per descriptor. `both_ways`: writability too.
int linux_epoll_add(int epoll, int descriptor, uint64_t label, int both_ways);
int linux_epoll_remove(int epoll, int descriptor);
int linux_epoll_wait(int epoll, struct linux_event *events, int capacity, int timeout_milliseconds);

int linux_wake_open(void);
int linux_wake(int descriptor);
// Resets the counter, so that the next linux_wake makes an edge.
int linux_wake_clear(int descriptor);

// A non-blocking stream socket, closed on exec.
int linux_socket(int domain);
int linux_bind(int descriptor, const void *address, socklen_t length);
int linux_listen(int descriptor, int backlog);
int linux_accept(int descriptor, struct sockaddr_storage *address, socklen_t *length);
int linux_connect(int descriptor, const void *address, socklen_t length);
int linux_set_option(int descriptor, int level, int name, int value);
// Names of IPPROTO_IP and IPPROTO_IPV6 that are the kernel's alone.
enum { LINUX_IP_TRANSPARENT = 19, LINUX_IPV6_TRANSPARENT = 75 };
// Makes a descriptor of another process non-blocking and closed on exec.
int linux_prepare_inherited(int descriptor);
// Where a redirected connection was meant to go; -ENOENT where none was.
int linux_original_destination(int descriptor, int is_ipv6, struct sockaddr_storage *address, socklen_t *length);
// The value is stored in `value`.
int linux_get_option(int descriptor, int level, int name, int *value);
int linux_local_address(int descriptor, struct sockaddr_storage *address, socklen_t *length);
int linux_peer_address(int descriptor, struct sockaddr_storage *address, socklen_t *length);
int linux_peer_credentials(int descriptor, int32_t *process, uint32_t *user, uint32_t *group);
int linux_stop_sending(int descriptor);
ssize_t linux_receive(int descriptor, void *bytes, size_t count);
ssize_t linux_send(int descriptor, const void *bytes, size_t count);
ssize_t linux_read(int descriptor, void *bytes, size_t count);
// The most descriptors that one message carries.
enum { LINUX_DESCRIPTORS = 64 };
// Sends bytes over a Unix socket, and with the first of them copies of descriptors.
ssize_t linux_send_descriptors(int socket, const void *bytes, size_t count, const int *descriptors, int number);
// Receives bytes and what came with them: up to LINUX_DESCRIPTORS descriptors, closed on exec. -EMSGSIZE: there were
// more, or this process cannot hold them; those that came are closed.
ssize_t linux_receive_descriptors(int socket, void *bytes, size_t count, int *descriptors, int *number);
// Waits until there is something to read: 1, or an end; 0 when the time has passed. -1: as long as it takes.
int linux_wait_readable(int descriptor, int timeout_milliseconds);
// Ends both halves, of a listening socket too: who waits for it is woken.
int linux_shut_down(int descriptor);
int linux_close(int descriptor);
// A descriptor kept in reserve, to be given up when none is left.
int linux_reserve_open(void);

int linux_inotify_open(void);
int linux_inotify_watch(int descriptor, const char *directory);
int linux_inotify_forget(int descriptor, int watch);
// What inotify says of an entry, in portable words.
enum {
    LINUX_ENTRY_WRITTEN = 1,    // closed after writing, or attributes changed
    LINUX_ENTRY_CREATED = 2,
    LINUX_ENTRY_MOVED_IN = 4,
    LINUX_ENTRY_GONE = 8,       // deleted or moved away
    LINUX_SELF_GONE = 16,       // the watched directory itself was deleted or moved
    LINUX_WATCH_ENDED = 32,
    LINUX_QUEUE_OVERFLOW = 64,
    LINUX_IS_DIRECTORY = 128,
};
struct linux_change {
    int watch;
    uint32_t what;
    const char *name;  // inside `bytes`; NULL for the directory itself
};
// Reads the event at `offset` of `bytes`; returns the offset of the next one, 0 where the event is incomplete.
size_t linux_inotify_next(const void *bytes, size_t count, size_t offset, struct linux_change *change);

// From now on `signal` writes one byte, its number, to the non-blocking `pipe`.
int linux_signal_to_pipe(int signal, int pipe);
int linux_signal_default(int signal);
// Both ends non-blocking and closed on exec.
int linux_pipe(int ends[2]);

// Names the calling thread; at most 15 bytes are kept.
void linux_name_thread(const char *name);

// Whether something keeps the machine's clock right: 1 if so, 0 if not, -errno. `error`: by how much it may be wrong,
// in microseconds.
int linux_clock_is_kept(long *error);

// Gives freed memory back to the system.
void linux_return_memory(void);
