import EnvoyAPI
import GRPC
import Mesh
import Protobuf
import Translation

/// A request that a workload would make, by its name. Source: martinet.control.v1.ExplainRequest.
public struct ExplainQuery: Sendable {
    public var namespace: String
    public var workload: String
    /// It has no sidecar, or calls past it.
    public var isWithoutSidecar = false
    /// As the caller writes it.
    public var host: String
    /// nil: the only one that the service has, else 80.
    public var port: Int?
    public var method = "GET"
    /// With its query.
    public var path = "/"
    public var headers: [(String, String)] = []
    /// Of a token that is valid; a name may come several times.
    public var claims: [(String, String)] = []

    public init(namespace: String, workload: String, host: String) {
        (self.namespace, self.workload, self.host) = (namespace, workload, host)
    }

    init(decoding bytes: [UInt8]) throws(ProtobufError) {
        let arena = Arena()
        let message = try arena.decode(ControlExplainRequest.self, from: bytes).pointee
        (namespace, workload, host) = (message.namespace_.string, message.workload.string, message.host.string)
        isWithoutSidecar = message.without_sidecar != 0
        port = message.port == 0 ? nil : Int(message.port)
        if !message.method.string.isEmpty { method = message.method.string }
        if !message.path.string.isEmpty { path = message.path.string }
        headers = message.headers_list.map { ($0.pointee.name.string, $0.pointee.value.string) }
        claims = message.claims_list.map { ($0.pointee.name.string, $0.pointee.value.string) }
    }

    public func encoded() -> [UInt8] {
        let arena = Arena()
        func texts(_ pairs: [(String, String)]) -> [UnsafeMutablePointer<ControlNamedText>] {
            pairs.map { name, value in
                arena.make {
                    ($0.name, $0.value) = (arena(name.withoutNUL), arena(value.withoutNUL))
                }
            }
        }
        return encode(
            arena.make(ControlExplainRequest.self) { message in
                message.namespace_ = arena(namespace.withoutNUL)
                message.workload = arena(workload.withoutNUL)
                message.set(without_sidecar: isWithoutSidecar)
                message.host = arena(host.withoutNUL)
                message.port = UInt32(clamping: port ?? 0)
                (message.method, message.path) = (arena(method.withoutNUL), arena(path.withoutNUL))
                (message.n_headers, message.headers) = arena.list(texts(headers))
                (message.n_claims, message.claims) = arena.list(texts(claims))
            })
    }
}

/// Why a request cannot be told of.
public enum ExplainError: Error, Hashable, Sendable, CustomStringConvertible {
    /// - Parameter there: some that are there.
    case noWorkload(Workload.ID, there: [String])
    /// The control plane makes no configuration of the objects.
    case notTranslated

    public var description: String {
        switch self {
        case .noWorkload(let id, _): "there is no workload \(id.name) in \(id.namespace)"
        case .notTranslated: "nothing is made of the objects here"
        }
    }

    /// The mend.
    public var hint: String {
        switch self {
        case .noWorkload(_, let there):
            there.isEmpty
                ? "start its proxy, or apply its Pod or Deployment too; -n names another namespace"
                : "there are " + there.joined(separator: ", ")
        case .notTranslated: "ask a control plane that serves proxies"
        }
    }
}

/// What becomes of the request. Source: martinet.control.v1.ExplainResponse.
public struct ExplainReport: Sendable {
    /// For people.
    public var text: String
    /// The same for programs.
    public var json: String
    /// Of the objects; 0 for objects that have none.
    public var revision: Int64 = 0

    /// - Parameter proxyClass: that of a workload's proxy where it is connected.
    public init(
        _ query: ExplainQuery, of index: MeshIndex, settings: TranslationSettings,
        proxyClass: (Workload.ID) -> ProxyClass? = { _ in nil }
    ) throws(ExplainError) {
        let workloads = index.workloads(in: query.namespace)
        let id = Workload.ID(namespace: query.namespace, name: query.workload)
        guard let caller = index.connectedWorkload(id) ?? workloads.first(where: { $0.id == id }) else {
            throw .noWorkload(id, there: workloads.prefix(10).map(\.id.name))
        }
        var question = TrafficQuestion(
            from: TrafficQuestion.Caller(caller, hasSidecar: query.isWithoutSidecar ? false : nil), to: query.host,
            port: query.port, method: query.method, path: query.path,
            headers: Dictionary(query.headers, uniquingKeysWith: { $0 + "," + $1 }))
        for (name, value) in query.claims { question.claims[name, default: []].append(value) }
        let explanation = Translator(MeshReader(index), settings: settings).explain(question, from: proxyClass(id))
        (text, json) = (explanation.text, explanation.document.json())
    }

    public init(decoding bytes: [UInt8]) throws(ProtobufError) {
        let arena = Arena()
        let message = try arena.decode(ControlExplainResponse.self, from: bytes, limits: meshMessageLimits).pointee
        (text, json, revision) = (message.text.string, message.json.string, Int64(clamping: message.revision))
    }

    func encoded() -> [UInt8] {
        let arena = Arena()
        return encode(
            arena.make(ControlExplainResponse.self) {
                ($0.text, $0.json) = (arena(text.withoutNUL), arena(json.withoutNUL))
                $0.revision = UInt64(clamping: revision)
            })
    }
}

extension MeshSource {
    /// - Throws: what the caller of the service is told.
    func explain(_ query: ExplainQuery) throws(GRPCStatus) -> ExplainReport {
        do throws(ExplainError) {
            guard let settings = configuration.translation else { throw .notTranslated }
            let id = Workload.ID(namespace: query.namespace, name: query.workload)
            let rollout = pacing?.report.flatMap { $0.isUnderWay ? $0 : nil }
            // A proxy that a roll-out has not reached does what it did before.
            let older = rollout == nil ? nil : indexBefore?(id)
            var report = try ExplainReport(
                query, of: older ?? state.index, settings: settings, proxyClass: { proxyClass?($0) })
            report.revision = state.revision
            guard let rollout else { return report }
            if older != nil { report.revision = rollout.base }
            report.text +=
                "note: revision \(rollout.revision) has not come to all proxies; this is by revision \(report.revision), "
                + "which the proxy of \(id.name) has, and others may have revision "
                + "\(older == nil ? rollout.base : rollout.revision)\n"
            return report
        } catch {
            throw GRPCStatus(.notFound, "\(error)\n\(error.hint)")
        }
    }
}
