import Mesh

/// What would become of a request: who makes it, and what it is like.
public struct TrafficQuestion: Hashable, Sendable {
    public struct Caller: Hashable, Sendable {
        public var namespace: String
        public var name: String
        public var labels: [String: String]
        public var serviceAccount: String
        public var address: String?
        /// Without one nothing routes what it calls, and it has no identity.
        public var hasSidecar: Bool

        public init(
            namespace: String, name: String, labels: [String: String] = [:], serviceAccount: String = "default",
            address: String? = nil, hasSidecar: Bool = true
        ) {
            self.namespace = namespace
            self.name = name
            self.labels = labels
            self.serviceAccount = serviceAccount
            self.address = address
            self.hasSidecar = hasSidecar
        }

        /// - Parameter hasSidecar: nil takes a workload of the mesh for one that has a sidecar, unless its labels say
        ///   that it has none.
        public init(_ workload: Workload, hasSidecar: Bool? = nil) {
            self.init(
                namespace: workload.id.namespace, name: workload.id.name, labels: workload.labels,
                serviceAccount: workload.serviceAccount, address: workload.addresses.first,
                hasSidecar: hasSidecar ?? (workload.labels[Workload.modeLabel] != "disabled"))
        }
    }

    public var caller: Caller
    /// As the caller writes it: short, full, or an address.
    public var host: String
    /// Nil: the only one that the service has, else 80.
    public var port: Int?
    public var method: String
    /// With its query.
    public var path: String
    public var headers: [String: String]
    /// Of a token that is valid, by name; deeper ones as `realm][groups`.
    public var claims: [String: [String]]

    public init(
        from caller: Caller, to host: String, port: Int? = nil, method: String = "GET", path: String = "/",
        headers: [String: String] = [:], claims: [String: [String]] = [:]
    ) {
        self.caller = caller
        self.host = host
        self.port = port
        self.method = method
        self.path = path
        self.headers = headers
        self.claims = claims
    }
}
