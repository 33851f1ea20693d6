import Mesh

/// The one door through which what is made of the mesh sees the mesh: it notes what was asked, so that a change makes
/// anew what asked for something that changed, and nothing else.
public final class MeshReader {
    public let index: MeshIndex

    public init(_ index: MeshIndex) {
        self.index = index
    }

    public var config: MeshConfig { index.config }

    public func object(_ key: ObjectKey) -> MeshObject? { index[key] }

    public func objects(of kind: ObjectKind) -> [MeshObject] { index.objects(of: kind) }

    public func objects(of kind: ObjectKind, in namespace: String) -> [MeshObject] {
        index.objects(of: kind, in: namespace)
    }

    /// As ``MeshIndex/services(matching:from:)``.
    public func services(matching host: String, from namespace: String) -> [MeshService] {
        index.services(matching: host, from: namespace).compactMap { found in
            index[found.key].flatMap { MeshService.services(of: $0).first { $0.host == found.host } }
        }
    }

    /// As ``MeshIndex/virtualServices(for:gateway:from:)``.
    public func virtualServices(for host: String, gateway: String, from namespace: String) -> [MeshObject] {
        index.virtualServices(for: host, gateway: gateway, from: namespace)
    }

    /// As ``MeshIndex/destinationRules(for:from:)``.
    public func destinationRules(for host: String, from namespace: String) -> [MeshObject] {
        index.destinationRules(for: host, from: namespace)
    }

    /// As ``MeshIndex/policies(_:selecting:in:)``.
    public func policies(
        _ kind: ObjectKind, selecting labels: [String: String], in namespace: String
    ) -> [MeshObject] {
        index.policies(kind, selecting: labels, in: namespace)
    }

    /// As ``MeshIndex/workloads(with:in:)``.
    public func workloads(with labels: [String: String], in namespace: String) -> [Workload] {
        index.workloads(with: labels, in: namespace)
    }

    /// As ``MeshIndex/services(selecting:in:)``.
    public func services(selecting labels: [String: String], in namespace: String) -> [MeshObject] {
        index.services(selecting: labels, in: namespace)
    }

    /// As ``MeshIndex/objects(naming:)``.
    public func objects(naming key: ObjectKey) -> [MeshObject] { index.objects(naming: key) }

    /// As ``MeshIndex/fullHost(_:in:)``.
    public func fullHost(_ host: String, in namespace: String) -> String { index.fullHost(host, in: namespace) }

    public func gateway(named name: String, from namespace: String) -> MeshObject? {
        index.gateway(named: name, from: namespace)
    }
}
