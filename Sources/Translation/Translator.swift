import EnvoyAPI
import Identity
import Mesh
import Protobuf
import XDS

/// Makes Envoy's resources of the mesh's objects: a function of what its reader shows. One is made for each thing that
/// is to be made; its arena holds the messages until they are packed.
public struct Translator {
    public let mesh: MeshReader
    /// What holds for all meshes that this control plane serves.
    public let settings: TranslationSettings
    let arena = Arena()

    public init(_ mesh: MeshReader, settings: TranslationSettings) {
        self.mesh = mesh
        self.settings = settings
    }

    /// Packs a message as a resource.
    func resource<M: ProtobufMessage>(
        _ type: ResourceType, _ name: String, _ message: UnsafeMutablePointer<M>,
        dependencies: [ResourceReference] = []
    ) -> XDS.Resource {
        Resource(type, name: name, body: encode(message), dependencies: dependencies)
    }
}

/// What holds for all proxies and is no object of the mesh.
public struct TranslationSettings: Hashable, Sendable {
    public var trustDomain: TrustDomain
    /// Names of the trust domains whose workloads may call; they have bundles of their own.
    public var federatedDomains: [String]
    /// PEM file with the public authorities on the proxies' machines: who calls out over TLS without roots of its own
    /// trusts these.
    public var systemRoots: String

    public init(
        trustDomain: TrustDomain, federatedDomains: [String] = [],
        systemRoots: String = "/etc/ssl/certs/ca-certificates.crt"
    ) {
        self.trustDomain = trustDomain
        self.federatedDomains = federatedDomains
        self.systemRoots = systemRoots
    }
}
