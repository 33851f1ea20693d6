import Forwarding
import HTTP

/// Copies of a request that go to other clusters; nobody waits for their responses.
struct MirrorCopies {
    var targets: [(cluster: WorkerCluster, head: HeaderList)] = []
    var body: [UInt8] = []
}

extension Exchange {
    /// Notes the clusters that get a copy once the request is whole.
    func mirror(_ settings: Route.Forwarded) {
        guard !settings.mirrors.isEmpty, shape.upgrade == nil, !shape.isConnect else { return }
        for rule in settings.mirrors where rule.share.holds(worker.random.next()) {
            var name = rule.cluster
            if name.isEmpty {
                name =
                    rule.clusterHeader.withUnsafeBytes { header in
                        outgoing.withValue(ofBytes: header) { String(decoding: $0, as: UTF8.self) }
                    } ?? ""
            }
            guard let cluster = worker.cluster(name) else { continue }
            var copy = outgoing
            if !rule.isSampled, var context = trace.context, let provider = service.settings.tracing?.provider {
                context.isSampled = false
                context.write(provider.propagation, to: &copy)
            }
            if let authority = rule.authority {
                authority.withUnsafeBytes { copy.set(":authority", value: $0) }
            } else if rule.appendsShadow, let host = copy.withValue(of: ":authority", { Array($0) }) {
                Self.withShadowSuffix(host).withUnsafeBytes { copy.set(":authority", value: $0) }
            }
            mirrors.targets.append((cluster, copy))
        }
        mirrors.body = held
        if requestEnded { sendMirrors() }
    }

    /// `host:port` becomes `host-shadow:port`. Source: Envoy, `FilterUtility`.
    private static func withShadowSuffix(_ host: [UInt8]) -> [UInt8] {
        let suffix = Array("-shadow".utf8)
        guard let colon = host.lastIndex(of: UInt8(ascii: ":")), !host[colon...].contains(UInt8(ascii: "]")) else {
            return host + suffix
        }
        return host[..<colon] + suffix + host[colon...]
    }

    /// A part of the body for the copies; a body that is too long is copied to nobody.
    func copyToMirrors(_ bytes: UnsafeRawBufferPointer) {
        guard !mirrors.targets.isEmpty else { return }
        guard mirrors.body.count + bytes.count <= keptLimit else {
            mirrors = MirrorCopies()
            return
        }
        mirrors.body += bytes
    }

    func sendMirrors() {
        let copies = mirrors
        mirrors = MirrorCopies()
        for target in copies.targets {
            target.cluster.counters.requests += 1
            WorkerCall.send(
                target.head, body: copies.body, to: target.cluster, within: limits?.whole ?? .seconds(300),
                bodyLimit: 0, worker: worker
            ) { _ in }
        }
    }
}
