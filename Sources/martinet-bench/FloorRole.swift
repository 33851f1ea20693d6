import CLinux
import Glibc

/// The roles `floor-server` and `floor-client`: what this machine can do at best. The same number of bytes to the same
/// number of sockets with send() in a loop, and a short answer from each read back; no protocol at all.
enum FloorRole {
    /// Bytes of an answer: about what an acknowledgement takes.
    static let answer = 90

    static func serve(port: UInt16) throws(BenchFailure) {
        let listener = linux_socket(AF_INET)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        _ = linux_set_option(listener, SOL_SOCKET, SO_REUSEADDR, 1)
        guard linux_bind(listener, &address, socklen_t(MemoryLayout<sockaddr_in>.size)) >= 0,
            linux_listen(listener, 4096) >= 0
        else { throw BenchFailure("the floor cannot listen on port \(port)") }
        Reply("serving").say()
        var end = FloorEnd()
        while let words = readLine()?.split(separator: " "), words.count > 1, let number = Int(words[1]) {
            switch words[0] {
            case "open":
                while end.sockets.count < number {
                    var wait = pollfd(fd: listener, events: Int16(POLLIN), revents: 0)
                    guard poll(&wait, 1, 10_000) > 0 else { throw BenchFailure("the floor's clients do not come") }
                    let socket = linux_accept(listener, nil, nil)
                    if socket >= 0 { try end.add(socket) }
                }
                Reply("opened").say()
            case "round": end.push(number)
            default: throw BenchFailure("the floor does not know \(words)")
            }
        }
    }

    static func load(port: UInt16) throws(BenchFailure) {
        var end = FloorEnd()
        while let words = readLine()?.split(separator: " "), words.count > 1, let number = Int(words[1]) {
            switch words[0] {
            case "open":
                while end.sockets.count < number {
                    let socket = linux_socket(AF_INET)
                    var address = sockaddr_in()
                    address.sin_family = sa_family_t(AF_INET)
                    address.sin_port = port.bigEndian
                    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
                    let result = linux_connect(socket, &address, socklen_t(MemoryLayout<sockaddr_in>.size))
                    var wait = pollfd(fd: socket, events: Int16(POLLOUT), revents: 0)
                    guard result >= 0 || (result == -EINPROGRESS && poll(&wait, 1, 5000) > 0) else {
                        throw BenchFailure("connect: \(String(cString: strerror(-result)))")
                    }
                    try end.add(socket)
                }
                Reply("opened").say()
            case "round": end.take(number)
            default: throw BenchFailure("the floor does not know \(words)")
            }
        }
    }
}

/// One end of the floor: its sockets, and how far each is in this round.
private struct FloorEnd {
    private(set) var sockets: [Int32] = []
    private var progress: [Int] = []
    private var answered: [Int] = []
    private let epoll = linux_epoll_open()
    private let events = UnsafeMutablePointer<linux_event>.allocate(capacity: Int(LINUX_EVENTS))
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 16)

    init() { buffer.initializeMemory(as: UInt8.self, repeating: 120) }

    mutating func add(_ socket: Int32) throws(BenchFailure) {
        _ = linux_set_option(socket, Int32(IPPROTO_TCP), TCP_NODELAY, 1)
        guard linux_epoll_add(epoll, socket, UInt64(sockets.count), 1) >= 0 else { throw .system("epoll_ctl") }
        sockets.append(socket)
        progress.append(0)
        answered.append(0)
    }

    private mutating func beginRound() {
        for index in sockets.indices { (progress[index], answered[index]) = (0, 0) }
    }

    /// Sends to all, and waits for all answers.
    mutating func push(_ bytes: Int) {
        beginRound()
        let processorTime = Clock.processorTime
        let start = Clock.now
        for index in sockets.indices {
            progress[index] = max(0, linux_send(sockets[index], buffer.baseAddress, min(bytes, buffer.count)))
        }
        var left = sockets.count
        while left > 0 {
            let count = linux_epoll_wait(epoll, events, Int32(LINUX_EVENTS), -1)
            for position in 0..<max(0, Int(count)) {
                let index = Int(events[position].label)
                if progress[index] < bytes, events[position].ready & UInt32(LINUX_WRITABLE) != 0 {
                    let rest = min(bytes - progress[index], buffer.count)
                    progress[index] += max(0, linux_send(sockets[index], buffer.baseAddress, rest))
                }
                guard events[position].ready & UInt32(LINUX_READABLE) != 0 else { continue }
                let received = linux_receive(sockets[index], buffer.baseAddress, 4096)
                guard received > 0 else { continue }
                answered[index] += received
                if answered[index] == FloorRole.answer { left -= 1 }
            }
        }
        let cpu = Clock.processorTime - processorTime
        Reply("pushed", ["start": start, "cpu": cpu, "answered": Clock.now]).say()
    }

    /// Waits until so many bytes came to each socket, and answers each.
    mutating func take(_ bytes: Int) {
        beginRound()
        Reply("expecting").say()
        var times: [Int] = []
        times.reserveCapacity(sockets.count)
        while times.count < sockets.count {
            let count = linux_epoll_wait(epoll, events, Int32(LINUX_EVENTS), -1)
            for position in 0..<max(0, Int(count)) {
                let index = Int(events[position].label)
                guard events[position].ready & UInt32(LINUX_READABLE) != 0 else { continue }
                let received = linux_receive(sockets[index], buffer.baseAddress, 256 << 10)
                guard received > 0 else { continue }
                progress[index] += received
                if progress[index] == bytes {
                    times.append(Clock.now)
                    _ = linux_send(sockets[index], buffer.baseAddress, FloorRole.answer)
                }
            }
        }
        times.sort()
        Reply(
            "arrived",
            ["median": times[(times.count - 1) / 2], "p99": times[(times.count - 1) * 99 / 100], "last": times.last!]
        ).say()
    }
}
