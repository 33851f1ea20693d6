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
    private enum Timer {
        static let detection: UInt64 = 21
        static let refusal: UInt64 = 22
    }

    private enum Stage {
        case proxyHeader, detection
        /// TLS shakes hands; the chain is chosen.
        case handshake(FilterChain, TLSSettings)
        case done
    }

    private var listener: WorkerListener
    private var stage = Stage.detection
    private var seen: [UInt8] = []
    private var detectionTimer: TimerID?
    private var facts: ConnectionFacts
    private var transport = "raw_buffer"
    private var protocols: [String] = []
    /// Whoever takes the socket over is to end it.
    private var isEnding = false

    init(_ worker: Worker, _ id: ConnectionID, _ listener: WorkerListener) {
        self.listener = listener
        facts = ConnectionFacts(source: .pipe(""), destination: .pipe(""))
        super.init(worker, id)
    }

    override func established(_ peer: Peer) {
        if case .handshake(let chain, let settings) = stage { return secured(peer, chain, settings) }
        listener.began(id)
        let source = NetworkAddress(peer.address)
        let local = loop.localAddress(of: id).map { NetworkAddress($0) } ?? .pipe("")
        facts = ConnectionFacts(source: source, destination: local)
        if inspection.looksForDestination || listener.configuration.handsOver {
            restore(loop.originalDestination(of: id).map { NetworkAddress($0) } ?? local, from: local)
            if listener.configuration.handsOver { handOver() }
        }
        stage = inspection.proxyHeader(facts.destination.port) == nil ? .detection : .proxyHeader
        setTimer()
        detect(isLate: false)
    }

    /// - Parameter local: where the connection was accepted. The kernel's tables name it for those that nobody
    ///   redirected; of a transparent listener it is the destination itself, unless it is the listener's port.
    private func restore(_ original: NetworkAddress, from local: NetworkAddress) {
        let configuration = listener.configuration
        facts = facts.with(
            destination: original,
            isRestored: original != local
                || configuration.isTransparent && !configuration.addresses.contains { $0.port == local.port })
    }

    private func handOver() {
        guard let other = worker.listener(for: facts.destination), other !== listener else { return }
        listener.ended(id)
        other.began(id)
        other.counters.connections += 1
        listener = other
    }

    private func setTimer() {
        guard !inspection.needsNoBytes, let limit = inspection.timeout else { return }
        detectionTimer = loop.setTimer(after: limit, for: id, token: Timer.detection)
    }

    private var inspection: Inspection { listener.configuration.inspection }

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
        if token == Timer.refusal { return loop.close(id) }
        switch stage {
        case .proxyHeader, .detection:
            listener.counters.detectionTimeouts += 1
            guard case .detection = stage, inspection.continuesOnTimeout else { return loop.close(id) }
            detect(isLate: true)
        case .handshake, .done: break
        }
    }

    override func closed(_ reason: CloseReason) {
        if case .handshake = stage { listener.counters.tls.note(failure: reason) }
        listener.ended(id)
    }

    override func drain(_ reason: DrainReason) {
        if reason == .superseded { return loop.close(id) }
        isEnding = true
    }

    // MARK: Detection

    /// - Parameter isLate: no more bytes are waited for.
    private func detect(isLate: Bool) {
        if case .proxyHeader = stage {
            switch seen.withUnsafeBytes({ ProxyProtocolHeader.read($0) }) {
            case .incomplete: return
            case .invalid where inspection.proxyHeader(facts.destination.port)?.isOptional == true:
                stage = .detection
            case .invalid(let problem):
                listener.counters.badProxyHeaders += 1
                return loop.close(id, reason: .violation(problem))
            case .header(_, _, let version)
            where inspection.proxyHeader(facts.destination.port)?.versions.contains(version) == false:
                listener.counters.badProxyHeaders += 1
                return loop.close(id, reason: .violation("version \(version) of the PROXY protocol is not allowed"))
            case .header(let length, let addresses, _):
                seen.removeFirst(length)
                if let addresses {
                    facts = facts.with(
                        source: addresses.source, destination: addresses.destination,
                        isRestored: addresses.destination != loop.localAddress(of: id).map { NetworkAddress($0) })
                }
                stage = .detection
            }
        }
        guard case .detection = stage else { return }
        let port = facts.destination.port
        if inspection.looksForTLS(port) {
            switch seen.withUnsafeBytes({ ClientHelloInspection.inspect($0) }) {
            case .incomplete: if !isLate { return }
            case .notTLS:
                if inspection.closesOnBadHello, seen.first == 0x16 {
                    return loop.close(id, reason: .violation("a client hello that cannot be read"))
                }
            case .greeting(let name, let offered):
                transport = "tls"
                facts = facts.with(serverName: name)
                protocols = offered
            }
        }
        if inspection.looksForHTTP(port), transport != "tls" {
            let verdict = seen.withUnsafeBytes { HTTPInspection.inspect($0) }
            if verdict == .incomplete, !isLate { return }
            if let found = verdict.applicationProtocol { protocols = [found] }
        }
        chooseChain()
    }

    private func chooseChain() {
        if let timer = detectionTimer { loop.cancelTimer(timer) }
        detectionTimer = nil
        guard
            let chain = listener.configuration.chain(
                for: ChainFacts(connection: facts, transport: transport, applicationProtocols: protocols))
        else {
            stage = .done
            listener.counters.noChain += 1
            listener.refused(facts)
            return loop.close(id)
        }
        listener.chose(chain, for: id)
        guard let settings = listener.served.tls(of: chain) else {
            // Its secrets are not there: what was meant to be TLS is never plaintext.
            return chain.tls == nil ? begin(chain) : loop.close(id)
        }
        stage = .handshake(chain, settings)
        loop.startTLS(id, settings, received: seen, within: chain.transportTimeout ?? .seconds(10))
        seen = []
    }

    private func secured(_ peer: Peer, _ chain: FilterChain, _ settings: TLSSettings) {
        guard let secure = peer.secure else { return loop.close(id) }
        listener.counters.tls.handshakes += 1
        let session = TLSSessionFacts(
            version: secure.version.map(\.word) ?? "", cipher: secure.cipher ?? "", cipherNumber: secure.cipherNumber)
        let isVerified = settings.configuration.acceptedPeers != .anybody
        let shown = secure.certificates.first.flatMap { try? Certificate(der: $0) }
        facts = facts.secured(
            session, serverName: secure.serverName, applicationProtocol: secure.alpn,
            peer: shown.map { PeerCertificateFacts($0, isVerified: isVerified) })
        endBeforeCertificates(settings, peer: isVerified ? shown : nil)
        begin(chain)
    }

    /// Hands the socket, and the bytes that were seen, to what the chain ends in.
    private func begin(_ chain: FilterChain) {
        stage = .done
        let cluster: String?
        let metadata: FilterMetadata
        switch listener.admit(id, facts, chain) {
        case .admitted(let given, let said): (cluster, metadata) = (given, said)
        case .refused(.zero): return loop.close(id)
        case .refused(let delay):
            loop.pauseReading(id)
            loop.setTimer(after: delay, for: id, token: Timer.refusal)
            return
        }
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
        case .answer(let bytes):
            loop.write(bytes, to: id)
            return loop.closeAfterFlush(id)
        case .echo: next = EchoDownstream(worker, id, listener)
        case .stream(let settings):
            let service = listener.service(of: chain, settings)
            service.counters.connections += 1
            service.counters.activeConnections += 1
            next = TCPDownstream(worker, id, service, facts, listener, cluster: cluster, metadata: metadata)
        }
        successor = next
        next.begin(seen)
        seen = []
        if isEnding { next.drain(.ending) }
    }

    private func speaksHTTP2(_ settings: HTTPConnectionSettings) -> Bool {
        switch settings.codec {
        case .http1: return false
        case .http2: return true
        case .detected: break
        }
        if facts.isTLS, let agreed = facts.applicationProtocol { return agreed == "h2" }
        // Without a word about it, the first bytes tell.
        let preface = HTTPInspection.preface
        return seen.count >= 3 && seen.starts(with: preface.prefix(min(seen.count, preface.count)))
    }
}
