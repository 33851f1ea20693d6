import Certificates
import Forwarding
import HTTP1
import HTTP2
import Reactor
import TLS
import Time

/// A connection that has come and of which it is not known yet what it is: looks at its first bytes as far as the
/// listener asks for, chooses the filter chain, and hands the socket over.
final class Arrival: SocketUser {
    private enum Timer { static let detection: UInt64 = 1 }

    private enum Stage {
        case proxyHeader, detection
        /// TLS shakes hands; the chain is chosen.
        case handshake(FilterChain)
        case done
    }

    private var listener: WorkerListener
    private var stage = Stage.detection
    private var seen: [UInt8] = []
    private var facts: ConnectionFacts
    private var transport = "raw_buffer"
    private var protocols: [String] = []
    private var hasTimer = false

    init(_ worker: Worker, _ id: ConnectionID, _ listener: WorkerListener) {
        self.listener = listener
        facts = ConnectionFacts(source: .pipe(""), destination: .pipe(""))
        super.init(worker, id)
    }

    override func established(_ peer: Peer) {
        if case .handshake(let chain) = stage { return secured(peer, chain) }
        listener.began(id)
        let source = NetworkAddress(peer.address)
        let local = loop.localAddress(of: id).map { NetworkAddress($0) } ?? .pipe("")
        facts = ConnectionFacts(source: source, destination: local)
        if listener.configuration.usesOriginalDestination || listener.configuration.handsOver {
            if let original = loop.originalDestination(of: id) { facts.destination = NetworkAddress(original) }
            if listener.configuration.handsOver { handOver() }
        }
        stage = listener.configuration.takesProxyProtocol ? .proxyHeader : .detection
        setTimer()
        detect(isLate: false)
    }

    private func handOver() {
        guard let other = worker.listener(for: facts.destination), other !== listener else { return }
        listener.ended(id)
        other.began(id)
        other.counters.connections += 1
        listener = other
    }

    private func setTimer() {
        guard !hasTimer, needsBytes else { return }
        hasTimer = true
        loop.setTimer(after: listener.configuration.detectionTimeout, for: id, token: Timer.detection)
    }

    private var needsBytes: Bool {
        if case .proxyHeader = stage { return true }
        return listener.configuration.inspectsTLS || listener.configuration.inspectsHTTP
    }

    override func received(_ bytes: UnsafeRawBufferPointer) {
        seen += bytes
        detect(isLate: false)
    }

    override func peerEnded() {
        // What is not known by now never will be.
        detect(isLate: true)
        if case .done = stage { return successor?.peerEnded() ?? () }
        if case .handshake = stage { return }
        loop.close(id)
    }

    override func timerFired(_ token: UInt64) {
        switch stage {
        case .proxyHeader, .detection:
            listener.counters.detectionTimeouts += 1
            guard case .detection = stage, listener.configuration.continuesOnTimeout else { return loop.close(id) }
            detect(isLate: true)
        case .handshake, .done: break
        }
    }

    override func closed(_ reason: CloseReason) {
        if case .handshake = stage { listener.counters.tlsFailures += 1 }
        listener.ended(id)
    }

    override func drain() { loop.close(id) }

    // MARK: Detection

    /// - Parameter isLate: no more bytes are waited for.
    private func detect(isLate: Bool) {
        if case .proxyHeader = stage {
            switch seen.withUnsafeBytes({ ProxyProtocolHeader.read($0) }) {
            case .incomplete: return
            case .invalid(let problem):
                listener.counters.badProxyHeaders += 1
                return loop.close(id, reason: .violation(problem))
            case .header(let length, let addresses):
                seen.removeFirst(length)
                if let addresses { (facts.source, facts.destination) = (addresses.source, addresses.destination) }
                stage = .detection
            }
        }
        guard case .detection = stage else { return }
        let configuration = listener.configuration
        if configuration.inspectsTLS {
            switch seen.withUnsafeBytes({ ClientHelloInspection.inspect($0) }) {
            case .incomplete: if !isLate { return }
            case .notTLS: break
            case .greeting(let name, let offered):
                transport = "tls"
                facts.serverName = name
                protocols = offered
            }
        }
        if configuration.inspectsHTTP, transport != "tls" {
            let verdict = seen.withUnsafeBytes { HTTPInspection.inspect($0) }
            if verdict == .incomplete, !isLate { return }
            if let found = verdict.applicationProtocol { protocols = [found] }
        }
        chooseChain()
    }

    private func chooseChain() {
        guard let chain = listener.configuration.match(facts, transport: transport, protocols: protocols) else {
            stage = .done
            listener.counters.noChain += 1
            listener.refused(facts)
            return loop.close(id)
        }
        guard let settings = listener.served.tls(of: chain) else { return begin(chain) }
        stage = .handshake(chain)
        loop.startTLS(id, settings, received: seen)
        seen = []
    }

    private func secured(_ peer: Peer, _ chain: FilterChain) {
        guard let secure = peer.secure else { return loop.close(id) }
        facts.isTLS = true
        facts.serverName = secure.serverName ?? facts.serverName
        facts.applicationProtocol = secure.alpn
        facts.peer = secure.certificates.first.flatMap { PeerCertificateFacts(der: $0) }
        begin(chain)
    }

    /// Hands the socket, and the bytes that were seen, to what the chain ends in.
    private func begin(_ chain: FilterChain) {
        stage = .done
        let next: SocketUser
        switch chain.terminal {
        case .http(let settings):
            let service = listener.service(of: chain, settings)
            service.counters.connections += 1
            service.counters.activeConnections += 1
            if speaksHTTP2(settings) {
                next = HTTP2Downstream(worker, id, service, facts, listener)
            } else {
                next = HTTP1Downstream(worker, id, service, facts, listener, isSecure: facts.isTLS)
            }
        case .tcp(let settings):
            let service = listener.service(of: chain, settings)
            service.counters.connections += 1
            service.counters.activeConnections += 1
            next = TCPDownstream(worker, id, service, facts, listener)
        }
        successor = next
        next.begin(seen)
        seen = []
    }

    private func speaksHTTP2(_ settings: HTTPConnectionSettings) -> Bool {
        if facts.isTLS, let agreed = facts.applicationProtocol { return agreed == "h2" }
        // Without a word about it, the first bytes tell.
        let preface = HTTPInspection.preface
        return seen.count >= 3 && seen.starts(with: preface.prefix(min(seen.count, preface.count)))
    }
}
