import Mesh
import XDS

/// Who configuration is made for: all proxies of a class see the same. What proxies differ in, and what does not change
/// their configuration (ids, addresses under interception), is not part of it.
public struct ProxyClass: Hashable, Sendable {
    /// Source: Istio, node types; gRPC, A27 and A36 for clients and servers without a proxy.
    public enum Kind: Hashable, Comparable, Sendable {
        /// Stands beside one workload.
        case sidecar
        /// Takes traffic from outside the mesh.
        case gateway
        /// A gRPC program that speaks xDS itself.
        case proxyless
    }

    /// How traffic reaches a sidecar.
    public enum Interception: Hashable, Sendable {
        /// The kernel redirects it to ports 15001 and 15006; the original destination says where it was meant to go.
        case redirect
        /// As ``redirect``, with the client's address kept.
        case transparent
        /// Nothing is redirected: the sidecar listens where the workload's callers, and the workload itself, call.
        case explicit(ExplicitAddresses)
    }

    /// Addresses of a sidecar without interception.
    public struct ExplicitAddresses: Hashable, Sendable {
        /// Where the workload is called from outside: listeners with the numbers of its services' target ports.
        public var inbound: String
        /// Where its own application calls others: a listener for each port that some service has.
        public var outbound: String

        public init(inbound: String, outbound: String) {
            self.inbound = inbound
            self.outbound = outbound
        }
    }

    public var kind: Kind
    public var namespace: String
    public var labels: [String: String]
    public var serviceAccount: String
    public var interception: Interception
    /// Where the application itself listens, as its sidecar calls it.
    public var applicationAddress: String
    /// Decides which endpoints are near.
    public var locality: XDS.Locality
    /// Container ports that the proxy tells of, by name: what a Service's named target port means.
    public var namedPorts: [String: Int]

    public init(
        _ kind: Kind = .sidecar, namespace: String, labels: [String: String] = [:],
        serviceAccount: String = "default", interception: Interception = .redirect,
        applicationAddress: String = "127.0.0.1", locality: XDS.Locality = XDS.Locality(),
        namedPorts: [String: Int] = [:]
    ) {
        self.kind = kind
        self.namespace = namespace
        self.labels = labels
        self.serviceAccount = serviceAccount
        self.interception = interception
        self.applicationAddress = applicationAddress
        self.locality = locality
        self.namedPorts = namedPorts
    }
}
