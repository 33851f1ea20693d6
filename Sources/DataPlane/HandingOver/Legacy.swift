import Agent
import Certificates
import Glibc
import Identity
import Reactor
import Time

/// What a proxy has of the one whose place it takes: its listening sockets, which wait for both until it serves, and its
/// certificate, since a join token may be good for once.
///
/// The two speak over a Unix socket: the new one says for which node it asks, the old one gives what it has and goes on;
/// when the new one serves it says so, and the old one stops to accept, frees its own name, says that, and drains. If
/// either ends on the way, the other one goes on alone. Waits: not for a thread that carries traffic.
final class Legacy: Sendable {
    /// What the two say.
    enum Word {
        /// What the node's ID follows.
        static let greeting = "martinet hand-over 1 "
        static let serving = "serving"
        static let yours = "yours"
        private static let gives = "gives "
        private static let refuses = "refuses "

        /// So many sockets follow, and the identity.
        static func gives(_ count: Int) -> String { gives + "\(count)" }
        static func refuses(_ reason: String) -> String { refuses + reason }

        static func count(given answer: String) -> Int? {
            answer.hasPrefix(gives) ? Int(answer.dropFirst(gives.count)).flatMap { $0 >= 0 ? $0 : nil } : nil
        }

        static func reason(refused answer: String) -> String? {
            answer.hasPrefix(refuses) ? String(answer.dropFirst(refuses.count)) : nil
        }
    }

    static let socketName = "hand-over.sock"
    static func path(in directory: String) -> String { directory + "/" + socketName }
    /// For each step that the other process has only to think of.
    static let patience = Duration.seconds(10)
    /// More is no proxy's.
    private static let mostSockets = 65_536

    let sockets: [ListeningSocket]
    private let identity: LegacyIdentity
    private let channel: DescriptorChannel

    /// Asks whoever is there for what it has.
    /// - Returns: nil: nobody is there.
    static func ask(in directory: String, nodeID: String) throws(ProxyError) -> Legacy? {
        let path = path(in: directory)
        let channel: DescriptorChannel?
        do throws(ReactorError) {
            channel = try DescriptorChannel.connect(to: path)
        } catch {
            throw .noHandOver("cannot ask at \(path) for the place of the proxy there: \(error)", hint: error.hint)
        }
        guard let channel else { return nil }
        guard channel.peer?.user == geteuid() else {
            throw .noHandOver("\(path) is another user's", hint: "name a directory of this user alone")
        }
        let problem: String
        do throws(DescriptorChannel.Problem) {
            try channel.send(Array((Word.greeting + nodeID).utf8))
            let answer = String(decoding: try channel.receive(within: patience).message, as: UTF8.self)
            if let count = Word.count(given: answer), count <= mostSockets { return try Legacy(channel, count) }
            problem = Word.reason(refused: answer) ?? "\(DescriptorChannel.Problem.malformed)"
        } catch {
            problem = "\(error)"
        }
        throw .noHandOver(
            "the proxy at \(path) does not give its place: \(problem)",
            hint: "see its log; end it, or wait until another one has taken its place")
    }

    private init(_ channel: DescriptorChannel, _ count: Int) throws(DescriptorChannel.Problem) {
        self.channel = channel
        var sockets: [ListeningSocket] = []
        while sockets.count < count {
            let descriptors = try channel.receive(within: Self.patience).descriptors
            guard !descriptors.isEmpty else { throw .malformed }
            for (place, descriptor) in descriptors.enumerated() {
                guard let socket = try? ListeningSocket(adopting: descriptor, withFile: true) else {
                    for each in descriptors[place...] { close(each) }
                    throw .malformed
                }
                // Until this proxy serves, it is the other one's.
                socket.leaveFile()
                sockets.append(socket)
            }
        }
        self.sockets = sockets
        identity = try LegacyIdentity(from: channel)
    }

    /// The certificate of the proxy before this one, if it is of this identity and still valid.
    func certificate(of identity: SPIFFEID) -> (certificate: HeldCertificate, anchors: [Certificate])? {
        self.identity.read(as: identity, now: .systemClock())
    }

    /// This proxy serves: the other one ends, and what it had is ours. Waits until that is so.
    func claim() {
        // Whether it says so or is gone: nobody else has the sockets then.
        do throws(DescriptorChannel.Problem) {
            try channel.send(Array(Word.serving.utf8))
            _ = try channel.receive(within: Self.patience)
        } catch {}
        for socket in sockets { socket.takeFile() }
    }
}

/// A key with its certificate and the anchors beside it, as they go from one process's memory to the other's.
struct LegacyIdentity: Sendable {
    /// PEM; all are empty where there is none.
    private var key: [UInt8] = []
    private var chain: [UInt8] = []
    private var anchors: [UInt8] = []

    init(_ held: HeldCertificate?, anchors: [Certificate]) {
        guard let held, let key = try? held.key.pem() else { return }
        self.key = key
        chain = held.chain.flatMap(\.pem)
        self.anchors = anchors.flatMap(\.pem)
    }

    init(from channel: DescriptorChannel) throws(DescriptorChannel.Problem) {
        key = try channel.receive(within: Legacy.patience).message
        chain = try channel.receive(within: Legacy.patience).message
        anchors = try channel.receive(within: Legacy.patience).message
    }

    func send(over channel: DescriptorChannel) throws(DescriptorChannel.Problem) {
        for part in [key, chain, anchors] { try channel.send(part) }
    }

    func read(as identity: SPIFFEID, now: Timestamp) -> (certificate: HeldCertificate, anchors: [Certificate])? {
        let source = "the proxy before this one"
        guard let key = try? PrivateKey(pem: key, source: source),
            let chain = try? Certificate.list(pem: chain, source: source), let leaf = chain.first,
            key.publicKey.spki == leaf.spki, (try? leaf.spiffeID()) == identity, leaf.validity.contains(now)
        else { return nil }
        let anchors = (try? Certificate.list(pem: anchors, source: source)) ?? []
        return (HeldCertificate(spiffeID: identity, chain: chain, key: key), anchors)
    }
}
