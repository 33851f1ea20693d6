import Mesh
import XDS

/// What decides how others look to a proxy: proxies of different classes with the same scope share every resource
/// about services that they call.
public struct OutboundScope: Hashable, Sendable {
    public var namespace: String
    /// Gateways see services as sidecars do, except for objects that are for gateways alone.
    public var kind: ProxyClass.Kind
    /// The Sidecar that limits what is seen; nil: everything that is exported to the namespace.
    public var sidecar: ObjectKey?
    /// Objects that choose clients by their labels (VirtualServices with `sourceLabels`, DestinationRules with a
    /// selector), as far as they choose these; sorted.
    public var choosers: [ObjectKey]
    /// Labels of these clients that some VirtualService asks about.
    public var labels: [String: String]
    /// Empty unless some DestinationRule prefers near endpoints.
    public var locality: XDS.Locality
    /// Whether the proxy knows where the client meant its call to go: sidecars whose traffic is redirected do. Others
    /// are told the endpoints of headless services.
    public var followsDestination: Bool

    public init(
        namespace: String, kind: ProxyClass.Kind = .sidecar, sidecar: ObjectKey? = nil, choosers: [ObjectKey] = [],
        labels: [String: String] = [:], locality: XDS.Locality = XDS.Locality(),
        followsDestination: Bool = true
    ) {
        self.namespace = namespace
        self.kind = kind
        self.sidecar = sidecar
        self.choosers = choosers
        self.labels = labels
        self.locality = locality
        self.followsDestination = followsDestination && kind == .sidecar
    }
}
