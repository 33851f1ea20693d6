#define _GNU_SOURCE
#include "CLinux.h"
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/timex.h>
#include <sys/uio.h>
#include <unistd.h>

#define RETRY(type, call)                           \
    type result;                                    \
    do { result = (call); } while (result < 0 && errno == EINTR); \
    return result < 0 ? -errno : result

int linux_epoll_open(void) { RETRY(int, epoll_create1(EPOLL_CLOEXEC)); }

int linux_epoll_add(int epoll, int descriptor, uint64_t label, int both_ways) {
    struct epoll_event event = {0};
    event.events = EPOLLIN | EPOLLET | (both_ways ? EPOLLOUT | EPOLLRDHUP : 0);
    event.data.u64 = label;
    RETRY(int, epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event));
}

int linux_epoll_remove(int epoll, int descriptor) { RETRY(int, epoll_ctl(epoll, EPOLL_CTL_DEL, descriptor, NULL)); }

int linux_epoll_wait(int epoll, struct linux_event *events, int capacity, int timeout_milliseconds) {
    struct epoll_event raw[LINUX_EVENTS];
    if (capacity > LINUX_EVENTS) capacity = LINUX_EVENTS;
    int count = epoll_wait(epoll, raw, capacity, timeout_milliseconds);
    if (count < 0) return errno == EINTR ? 0 : -errno;  // A signal is a wake-up like another.
    for (int i = 0; i < count; i++) {
        uint32_t bits = raw[i].events, ready = 0;
        if (bits & EPOLLIN) ready |= LINUX_READABLE;
        if (bits & EPOLLOUT) ready |= LINUX_WRITABLE;
        if (bits & (EPOLLRDHUP | EPOLLHUP)) ready |= LINUX_PEER_CLOSED;
        if (bits & EPOLLERR) ready |= LINUX_FAILED;
        events[i].label = raw[i].data.u64;
        events[i].ready = ready;
    }
    return count;
}

int linux_wake_open(void) { RETRY(int, eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)); }

int linux_wake(int descriptor) {
    uint64_t one = 1;
    RETRY(int, (int)write(descriptor, &one, sizeof one));
}

int linux_wake_clear(int descriptor) {
    uint64_t count;
    RETRY(int, (int)read(descriptor, &count, sizeof count));
}

int linux_socket(int domain) { RETRY(int, socket(domain, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)); }

int linux_bind(int descriptor, const void *address, socklen_t length) { RETRY(int, bind(descriptor, address, length)); }

int linux_listen(int descriptor, int backlog) { RETRY(int, listen(descriptor, backlog)); }

int linux_accept(int descriptor, struct sockaddr_storage *address, socklen_t *length) {
    RETRY(int, accept4(descriptor, (struct sockaddr *)address, length, SOCK_NONBLOCK | SOCK_CLOEXEC));
}

int linux_connect(int descriptor, const void *address, socklen_t length) {
    // Not retried: after EINTR the connection goes on in the background, as after EINPROGRESS.
    int result = connect(descriptor, address, length);
    return result < 0 ? (errno == EINTR ? -EINPROGRESS : -errno) : result;
}

int linux_set_option(int descriptor, int level, int name, int value) {
    RETRY(int, setsockopt(descriptor, level, name, &value, sizeof value));
}

int linux_get_option(int descriptor, int level, int name, int *value) {
    socklen_t length = sizeof *value;
    RETRY(int, getsockopt(descriptor, level, name, value, &length));
}

int linux_prepare_inherited(int descriptor) {
    int flags = fcntl(descriptor, F_GETFL);
    if (flags < 0 || fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) < 0) return -errno;
    return fcntl(descriptor, F_SETFD, FD_CLOEXEC) < 0 ? -errno : 0;
}

// SO_ORIGINAL_DST of linux/netfilter_ipv4.h and IP6T_SO_ORIGINAL_DST of linux/netfilter_ipv6/ip6_tables.h.
enum { ORIGINAL_DESTINATION = 80 };

int linux_original_destination(int descriptor, int is_ipv6, struct sockaddr_storage *address, socklen_t *length) {
    RETRY(int, getsockopt(descriptor, is_ipv6 ? IPPROTO_IPV6 : IPPROTO_IP, ORIGINAL_DESTINATION, address, length));
}

int linux_local_address(int descriptor, struct sockaddr_storage *address, socklen_t *length) {
    RETRY(int, getsockname(descriptor, (struct sockaddr *)address, length));
}

int linux_peer_address(int descriptor, struct sockaddr_storage *address, socklen_t *length) {
    RETRY(int, getpeername(descriptor, (struct sockaddr *)address, length));
}

int linux_peer_credentials(int descriptor, int32_t *process, uint32_t *user, uint32_t *group) {
    struct ucred peer;
    socklen_t length = sizeof peer;
    if (getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0) return -errno;
    *process = peer.pid;
    *user = peer.uid;
    *group = peer.gid;
    return 0;
}

int linux_stop_sending(int descriptor) { RETRY(int, shutdown(descriptor, SHUT_WR)); }

ssize_t linux_receive(int descriptor, void *bytes, size_t count) { RETRY(ssize_t, recv(descriptor, bytes, count, 0)); }

ssize_t linux_send(int descriptor, const void *bytes, size_t count) {
    RETRY(ssize_t, send(descriptor, bytes, count, MSG_NOSIGNAL));
}

ssize_t linux_read(int descriptor, void *bytes, size_t count) { RETRY(ssize_t, read(descriptor, bytes, count)); }

ssize_t linux_send_descriptors(int socket, const void *bytes, size_t count, const int *descriptors, int number) {
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int) * LINUX_DESCRIPTORS)];
    } control;
    memset(&control, 0, sizeof control);
    struct iovec part = {.iov_base = (void *)bytes, .iov_len = count};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (number < 0 || number > LINUX_DESCRIPTORS) return -EINVAL;
    if (number > 0) {
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)number);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)number);
        memcpy(CMSG_DATA(header), descriptors, sizeof(int) * (size_t)number);
    }
    RETRY(ssize_t, sendmsg(socket, &message, MSG_NOSIGNAL));
}

ssize_t linux_receive_descriptors(int socket, void *bytes, size_t count, int *descriptors, int *number) {
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int) * LINUX_DESCRIPTORS)];
    } control;
    struct iovec part = {.iov_base = bytes, .iov_len = count};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    *number = 0;
    ssize_t result;
    do { result = recvmsg(socket, &message, MSG_CMSG_CLOEXEC); } while (result < 0 && errno == EINTR);
    if (result < 0) return -errno;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
        size_t size = header->cmsg_len - CMSG_LEN(0);
        for (size_t at = 0; at + sizeof(int) <= size; at += sizeof(int)) {
            int one;
            memcpy(&one, CMSG_DATA(header) + at, sizeof one);
            if (*number < LINUX_DESCRIPTORS) descriptors[(*number)++] = one; else close(one);
        }
    }
    if (message.msg_flags & MSG_CTRUNC) {
        while (*number > 0) close(descriptors[--*number]);
        return -EMSGSIZE;
    }
    return result;
}

int linux_wait_readable(int descriptor, int timeout_milliseconds) {
    struct pollfd one = {.fd = descriptor, .events = POLLIN};
    int result;
    do { result = poll(&one, 1, timeout_milliseconds); } while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : result;
}

int linux_shut_down(int descriptor) { RETRY(int, shutdown(descriptor, SHUT_RDWR)); }

int linux_close(int descriptor) {
    // Never retried: Linux has released the descriptor even when it says EINTR.
    return close(descriptor) < 0 ? -errno : 0;
}

int linux_reserve_open(void) { RETRY(int, open("/dev/null", O_RDONLY | O_CLOEXEC)); }

int linux_inotify_open(void) { RETRY(int, inotify_init1(IN_NONBLOCK | IN_CLOEXEC)); }

int linux_inotify_watch(int descriptor, const char *directory) {
    uint32_t mask = IN_CLOSE_WRITE | IN_ATTRIB | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF
        | IN_MOVE_SELF | IN_ONLYDIR | IN_DONT_FOLLOW | IN_EXCL_UNLINK;
    RETRY(int, inotify_add_watch(descriptor, directory, mask));
}

int linux_inotify_forget(int descriptor, int watch) { RETRY(int, inotify_rm_watch(descriptor, watch)); }

size_t linux_inotify_next(const void *bytes, size_t count, size_t offset, struct linux_change *change) {
    struct inotify_event event;
    if (offset > count || count - offset < sizeof event) return 0;
    memcpy(&event, (const char *)bytes + offset, sizeof event);
    if (event.len > count - offset - sizeof event) return 0;
    uint32_t what = 0;
    if (event.mask & (IN_CLOSE_WRITE | IN_ATTRIB)) what |= LINUX_ENTRY_WRITTEN;
    if (event.mask & IN_CREATE) what |= LINUX_ENTRY_CREATED;
    if (event.mask & IN_MOVED_TO) what |= LINUX_ENTRY_MOVED_IN;
    if (event.mask & (IN_DELETE | IN_MOVED_FROM)) what |= LINUX_ENTRY_GONE;
    if (event.mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT)) what |= LINUX_SELF_GONE;
    if (event.mask & IN_IGNORED) what |= LINUX_WATCH_ENDED;
    if (event.mask & IN_Q_OVERFLOW) what |= LINUX_QUEUE_OVERFLOW;
    if (event.mask & IN_ISDIR) what |= LINUX_IS_DIRECTORY;
    change->watch = event.wd;
    change->what = what;
    change->name = event.len > 0 ? (const char *)bytes + offset + sizeof event : NULL;
    return offset + sizeof event + event.len;
}

// Atomic: the handler may run on any thread.
static _Atomic int signal_pipe = -1;

static void write_to_pipe(int signal) {
    int saved = errno;
    unsigned char byte = (unsigned char)signal;
    ssize_t ignored = write(atomic_load(&signal_pipe), &byte, 1);  // A full pipe already wakes its reader.
    (void)ignored;
    errno = saved;
}

int linux_signal_to_pipe(int signal, int pipe) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    action.sa_handler = write_to_pipe;
    action.sa_flags = SA_RESTART;
    atomic_store(&signal_pipe, pipe);
    RETRY(int, sigaction(signal, &action, NULL));
}

int linux_signal_default(int signal) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    action.sa_handler = SIG_DFL;
    RETRY(int, sigaction(signal, &action, NULL));
}

void linux_name_thread(const char *name) { prctl(PR_SET_NAME, name, 0, 0, 0); }

int linux_pipe(int ends[2]) { RETRY(int, pipe2(ends, O_NONBLOCK | O_CLOEXEC)); }

int linux_clock_is_kept(long *error) {
    struct timex state = {0};
    if (adjtimex(&state) < 0) return -errno;
    *error = state.maxerror;
    return (state.status & STA_UNSYNC) == 0;
}

void linux_return_memory(void) { malloc_trim(0); }
