import Mesh
import Synchronization
import Translation
import XDS

/// What a proxy of the mesh sees: what is made for its class, and over it the raw resources that are for it.
struct MeshView: Hashable, Sendable {
    var proxy: ProxyClass
    /// The view of raw resources.
    var raw: ViewName
    /// Whether it shows a revision that not all proxies have.
    var isCandidate = false

    /// What ends the names of views that show a revision which not all proxies have.
    static let candidateMark = "+canary"

    /// `sidecar shop/reviews`, a hash and perhaps `+canary`.
    var name: ViewName { isCandidate ? ViewName(commonName.text + Self.candidateMark) : commonName }

    /// `sidecar shop/reviews` and a hash, with the view of raw resources where it is another than that of all.
    var commonName: ViewName {
        var fields = [raw.text, proxy.namespace, proxy.serviceAccount, proxy.applicationAddress]
        for (key, value) in proxy.labels.sorted(by: { $0.key < $1.key }) { fields += ["label", key, value] }
        for (key, value) in proxy.namedPorts.sorted(by: { $0.key < $1.key }) { fields += ["port", key, "\(value)"] }
        fields += [proxy.locality.region, proxy.locality.zone, proxy.locality.subZone]
        switch proxy.interception {
        case .redirect: fields.append("redirect")
        case .transparent: fields.append("transparent")
        case .explicit(let addresses): fields += ["explicit", addresses.inbound, addresses.outbound]
        }
        return ViewName("\(proxy.kind)=\(proxy.namespace)/\(proxy.serviceAccount)/", hashing: fields)
    }
}

/// Says which view a node belongs to: that of its class in the mesh, or of raw resources alone. Safe to use from any
/// thread.
final class NodeViews: Sendable {
    /// The views of raw resources.
    let raw: ViewDirectory
    private let isMeshThere = Mutex(false)
    private let share = Mutex<RolloutShare?>(nil)

    init(raw: ViewDirectory = ViewDirectory()) {
        self.raw = raw
    }

    /// Whether there is a mesh: before the first object, a proxy that could be part of one sees raw resources alone.
    /// - Returns: whether that is news: then nodes belong to other views than before.
    func setMesh(isThere: Bool) -> Bool {
        isMeshThere.withLock { known in
            defer { known = isThere }
            return known != isThere
        }
    }

    /// Says which proxies have a revision that not all have; nil: all have the same.
    func setShare(_ share: RolloutShare?) { self.share.withLock { $0 = share } }

    func view(of node: Node) -> ViewName { meshView(of: node)?.name ?? raw.view(of: node) }

    /// nil: the node is no proxy of the mesh.
    func meshView(of node: Node) -> MeshView? {
        guard isMeshThere.withLock({ $0 }), let proxy = ProxyClass(node: node) else { return nil }
        var view = MeshView(proxy: proxy, raw: raw.view(of: node))
        if let share = share.withLock({ $0 }) { view.isCandidate = share.contains(node.id, view.commonName) }
        return view
    }

    /// The node with what ``view(of:)`` asks about, and without the rest of its metadata, which may be large.
    func remembered(_ node: Node) -> Node {
        var kept = Node(id: node.id, cluster: node.cluster, locality: node.locality, principal: node.principal)
        if ProxyClass(node: node) != nil {
            kept.metadata = node.metadata.filter { NodeClaims.metadataNames.contains($0.key) }
        }
        return kept
    }
}
