import Glibc
import Reactor
import TLS
import Time

/// Fetches one document over HTTPS, on the calling thread: GET, HTTP/1.1, one connection, no redirects.
enum HTTPSDownload {
    /// `https://HOST[:PORT][/PATH]`.
    struct Address: Hashable, Sendable, CustomStringConvertible {
        var host: String
        var port: UInt16
        var path: String

        /// nil for anything else: other schemes, user names, fragments, control characters.
        init?(_ text: String) {
            guard text.hasPrefix("https://"), text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) else { return nil }
            let rest = text.dropFirst("https://".count)
            let slash = rest.firstIndex(where: { $0 == "/" || $0 == "?" }) ?? rest.endIndex
            let authority = rest[..<slash]
            path = rest[slash...].hasPrefix("/") ? String(rest[slash...]) : "/" + rest[slash...]
            guard !authority.contains("@"), !text.contains("#") else { return nil }
            var name = authority
            port = 443
            let colon = authority.lastIndex(of: ":")
            if let colon, !authority[colon...].contains("]") {
                guard let number = UInt16(authority[authority.index(after: colon)...]), number > 0 else { return nil }
                port = number
                name = authority[..<colon]
            }
            if name.hasPrefix("["), name.hasSuffix("]") { name = name.dropFirst().dropLast() }
            guard !name.isEmpty else { return nil }
            host = String(name)
        }

        var description: String { "https://\(authority)\(path)" }

        var authority: String {
            (host.contains(":") ? "[\(host)]" : host) + (port == 443 ? "" : ":\(port)")
        }
    }

    /// - Parameters:
    ///   - anchors: whom to believe that the server is `address.host`.
    ///   - largestBody: bytes.
    ///   - timeout: for all of it but the look-up of the name.
    static func get(
        _ address: Address, trusting anchors: TrustAnchors, largestBody: Int = 4 << 20,
        timeout: Duration = .seconds(20)
    ) throws(HTTPProblem) -> [UInt8] {
        let settings: TLSSettings
        let loop: EventLoop<Exchange>
        let place: SocketAddress
        do {
            settings = try TLSSettings(
                TLSConfiguration.client(
                    trusting: anchors, serverName: address.host, applicationProtocols: ["http/1.1"]))
            place = try lookUp(address)
            loop = try EventLoop(LoopConfiguration())
        } catch let problem as HTTPProblem {
            throw problem
        } catch {
            throw .notReached("\(error)")
        }
        let exchange = Exchange(address, largestBody: largestBody)
        loop.connect(to: place, tls: settings, handler: exchange)
        loop.schedule(after: timeout) { loop in
            exchange.finish(.failure(.notReached("no answer within \(timeout)")), loop)
        }
        loop.run()
        return try (exchange.outcome ?? .failure(.cutShort)).get()
    }

    private static func lookUp(_ address: Address) throws(HTTPProblem) -> SocketAddress {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_ADDRCONFIG
        var found: UnsafeMutablePointer<addrinfo>?
        let result = getaddrinfo(address.host, "\(address.port)", &hints, &found)
        defer { if let found { freeaddrinfo(found) } }
        var text = [CChar](repeating: 0, count: Int(NI_MAXHOST))
        guard result == 0, let found,
            getnameinfo(
                found.pointee.ai_addr, found.pointee.ai_addrlen, &text, socklen_t(text.count), nil, 0, NI_NUMERICHOST)
                == 0
        else {
            throw .notReached(
                "\(address.host): " + (result == 0 ? "no address" : String(cString: gai_strerror(result))))
        }
        let number = String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
        do {
            return try SocketAddress(
                parsing: number.contains(":") ? "[\(number)]:\(address.port)" : "\(number):\(address.port)")
        } catch {
            throw .notReached("\(error)")
        }
    }

    private final class Exchange: ConnectionHandler {
        private(set) var outcome: Result<[UInt8], HTTPProblem>?
        private let address: Address
        private var reader: HTTPResponseReader

        init(_ address: Address, largestBody: Int) {
            self.address = address
            reader = HTTPResponseReader(largestBody: largestBody)
        }

        func finish(_ outcome: Result<[UInt8], HTTPProblem>, _ loop: EventLoop<Exchange>) {
            if self.outcome == nil { self.outcome = outcome }
            loop.stop()
        }

        func established(_ peer: Peer, loop: EventLoop<Exchange>, id: ConnectionID) {
            let request =
                "GET \(address.path) HTTP/1.1\r\nHost: \(address.authority)\r\nAccept: application/json\r\n"
                + "User-Agent: martinet\r\nConnection: close\r\n\r\n"
            loop.write(Array(request.utf8), to: id)
        }

        func received(_ bytes: UnsafeRawBufferPointer, loop: EventLoop<Exchange>, id: ConnectionID) {
            read(loop) { (reader) throws(HTTPProblem) in try reader.receive(bytes) }
        }

        func peerClosedWriting(loop: EventLoop<Exchange>, id: ConnectionID) {
            read(loop) { (reader) throws(HTTPProblem) in try reader.connectionClosed() }
        }

        func readyToWrite(loop: EventLoop<Exchange>, id: ConnectionID) {}
        func timerFired(_ token: UInt64, loop: EventLoop<Exchange>, id: ConnectionID) {}

        func closed(_ reason: CloseReason, loop: EventLoop<Exchange>, id: ConnectionID) {
            // A connection that ends without close_notify may have been cut by someone in between: never whole.
            finish(.failure(.notReached("\(reason)")), loop)
        }

        private func read(
            _ loop: EventLoop<Exchange>, _ body: (inout HTTPResponseReader) throws(HTTPProblem) -> Void
        ) {
            do throws(HTTPProblem) {
                try body(&reader)
                guard reader.isFinished else { return }
                finish(reader.status == 200 ? .success(reader.body) : .failure(.status(reader.status)), loop)
            } catch {
                finish(.failure(error), loop)
            }
        }
    }
}
