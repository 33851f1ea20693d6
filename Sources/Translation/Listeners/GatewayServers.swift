import Mesh

/// A server of a Gateway, or a listener of a Gateway of the Gateway API, told alike: a port that a gateway's proxy opens
/// for some hosts.
public struct GatewayServer: Hashable, Sendable {
    public enum Transport: Hashable, Sendable {
        case http
        /// HTTP in a client's TLS that ends here.
        case https
        /// TLS that ends here, with a stream in it that nobody reads.
        case tls
        /// TLS that is led on by the server name that the client asks for.
        case passthrough
        /// TLS whose server name is that of a cluster: between networks.
        case automaticPassthrough
        case tcp

        public var isHTTP: Bool { self == .http || self == .https }
    }

    public var gateway: ObjectKey
    /// Where it is in its object: `spec.servers[0]`.
    public var path: String
    /// Of the server's port, or of the listener.
    public var name: String
    /// As the object says; it is what routes mean by a port.
    public var port: Int
    /// Where the proxy listens: the target port of its own Service, if that has the port.
    public var listenerPort: Int
    /// An address or a `unix://` path.
    public var bind: String?
    public var transport: Transport
    public var hosts: [Istio.ScopedHost]
    /// How the client's TLS ends; nil where it does not end here.
    public var tls: GatewayTLS?
    /// Answers with the same address under `https`.
    public var redirectsToHTTPS: Bool
    public var translatesGRPCWeb = false

    /// The route configuration of its HTTP; servers may share one. Source: Istio, names of a gateway's routes.
    public var routeName: String? {
        let suffix = bind.map { "." + $0 } ?? ""
        switch transport {
        case .http: return "http.\(listenerPort)\(suffix)"
        case .https: return "https.\(port).\(name).\(gateway.name).\(gateway.namespace)\(suffix)"
        case .tls, .passthrough, .automaticPassthrough, .tcp: return nil
        }
    }

    /// The server names that its TLS is for; empty is all. Partial wildcards (`foo*.com`) are none.
    public var serverNames: [String] {
        let names = hosts.map { $0.host.lowercased() }
        return names.contains("*") || names.isEmpty ? [] : Set(names).sorted()
    }
}

/// How a gateway ends the TLS of its clients.
public struct GatewayTLS: Hashable, Sendable {
    public enum ClientCertificate: Hashable, Sendable {
        case none
        /// Checked where the client has one.
        case optional
        case required
    }

    /// The secrets over SDS that hold its certificates.
    public var certificateSecrets: [String] = []
    /// Certificates that lie on the proxy's machine.
    public var files: [Istio.ServerTLS.Files] = []
    public var clientCertificate = ClientCertificate.none
    /// The secret over SDS that holds what clients are checked with.
    public var rootSecret: String?
    public var rootFile: String?
    public var revocationFile: String?
    /// Of clients; empty is any.
    public var subjectAltNames: [String] = []
    public var minVersion = Istio.ServerTLS.Version.auto
    public var maxVersion = Istio.ServerTLS.Version.auto
    public var cipherSuites: [String] = []
    /// Clients' certificates are asked for and not checked.
    public var skipsVerification = false
    /// The mesh's own certificates and roots.
    public var isOfMesh = false

    /// The secret of a Kubernetes Secret in the proxy's own namespace. Source: Istio, names of secrets.
    public static func secret(_ name: String) -> String { "kubernetes://" + name }

    /// The secret of any namespace.
    public static func secret(_ name: String, in namespace: String) -> String {
        "kubernetes-gateway://\(namespace)/\(name)"
    }

    /// The roots that a Kubernetes Secret holds beside its certificate, or alone.
    public static func roots(_ secret: String) -> String {
        secret.hasSuffix(rootsSuffix) ? secret : secret + rootsSuffix
    }
}

extension Translator {
    static let gatewayNameLabel = Istio.PolicyScope.gatewayNameLabel

    /// What the proxies of a class serve, by port, the oldest object first.
    public func gatewayServers(of proxy: ProxyClass) -> [GatewayServer] {
        guard proxy.kind == .gateway else { return [] }
        let targets = gatewayTargetPorts(of: proxy)
        var objects = mesh.objects(of: .gateway)
        objects += mesh.objects(of: .kubernetesGateway, in: proxy.namespace)
        var servers: [GatewayServer] = []
        for object in objects.sorted(by: { $0.isOlder(than: $1) }) {
            switch object.body {
            case .gateway(let gateway):
                guard Istio.WorkloadSelector(labels: gateway.selector).selects(proxy.labels) else { continue }
                for (index, server) in gateway.servers.enumerated() {
                    servers.append(GatewayServer(server, at: index, of: object.key, targets: targets))
                }
            case .kubernetesGateway(let gateway):
                guard isOurs(gateway), belongs(proxy, to: gateway, object.key) else { continue }
                for (index, listener) in gateway.listeners.enumerated() where listener.transport != .udp {
                    servers.append(
                        GatewayServer(
                            listener, at: index, of: object.key, gateway: gateway, targets: targets,
                            refers: { mayRefer(object.key, to: $0) }))
                }
            default: continue
            }
        }
        return servers.enumerated().sorted { ($0.1.listenerPort, $0.0) < ($1.1.listenerPort, $1.0) }.map(\.1)
    }

    /// The ports of the gateway's own Services: what callers call, to where the proxy listens.
    private func gatewayTargetPorts(of proxy: ProxyClass) -> [Int: Int] {
        var targets: [Int: Int] = [:]
        for object in mesh.services(selecting: proxy.labels, in: proxy.namespace) {
            guard case .service(let service) = object.body else { continue }
            for port in service.ports where targets[port.port] == nil {
                switch port.targetPort {
                case .number(let number): targets[port.port] = number
                case .text(let name): targets[port.port] = proxy.namedPorts[name] ?? port.port
                case nil: targets[port.port] = port.port
                }
            }
        }
        return targets
    }

    /// Whether this controller serves a Gateway: its class says so, or is called as our own are.
    func isOurs(_ gateway: GatewayAPI.Gateway) -> Bool {
        if case .gatewayClass(let found)? = mesh.object(ObjectKey(.gatewayClass, "", gateway.className))?.body {
            return found.controllerName == GatewayAPI.GatewayClass.ours
                || (GatewayAPI.GatewayClass.builtInClasses.contains(gateway.className)
                    && found.controllerName == "istio.io/gateway-controller")
        }
        return GatewayAPI.GatewayClass.builtInClasses.contains(gateway.className)
    }

    /// A proxy belongs to a Gateway by its label, or because one of the Gateway's addresses is the host of a Service that
    /// selects the proxy. Source: Istio, manual deployment of gateways.
    private func belongs(_ proxy: ProxyClass, to gateway: GatewayAPI.Gateway, _ key: ObjectKey) -> Bool {
        if proxy.namespace == key.namespace, proxy.labels[Self.gatewayNameLabel] == key.name { return true }
        let hosts = gateway.addresses.filter { $0.type == "Hostname" }.map {
            mesh.fullHost($0.value, in: key.namespace)
        }
        guard !hosts.isEmpty else { return false }
        return mesh.services(selecting: proxy.labels, in: proxy.namespace).contains {
            hosts.contains(MeshIndex.fullHost(of: $0.key))
        }
    }

    /// Whether a Gateway may use an object of another namespace: a ReferenceGrant there says so.
    func mayRefer(_ from: ObjectKey, to target: ObjectKey) -> Bool {
        if from.namespace == target.namespace { return true }
        return mesh.objects(of: .referenceGrant, in: target.namespace).contains { object in
            guard case .referenceGrant(let grant) = object.body else { return false }
            let mayAsk = grant.from.contains {
                $0.group == from.kind.group && $0.kind == from.kind.name && $0.namespace == from.namespace
            }
            return mayAsk
                && grant.to.contains {
                    $0.group == target.kind.group && $0.kind == target.kind.name
                        && ($0.name == nil || $0.name == target.name)
                }
        }
    }
}

extension GatewayServer {
    fileprivate init(_ server: Istio.Server, at index: Int, of key: ObjectKey, targets: [Int: Int]) {
        gateway = key
        path = "spec.servers[\(index)]"
        name = server.port.name
        port = server.port.number
        listenerPort = server.bind == nil ? targets[port] ?? port : port
        bind = server.bind
        hosts = server.hosts.map { host in
            Istio.ScopedHost(namespace: host.namespace == "." ? key.namespace : host.namespace, host: host.host)
        }
        redirectsToHTTPS = server.tls?.redirectsToHTTPS ?? false
        let ending = server.tls.flatMap { $0.mode.terminates && !$0.redirectsToHTTPS ? $0 : nil }
        tls = ending.map { GatewayTLS($0) }
        translatesGRPCWeb = server.port.transport == .grpcWeb
        switch server.port.transport {
        case .http, .http2, .grpc, .grpcWeb: transport = .http
        case .https, .tls, .tcp, .mongo:
            if ending != nil {
                transport = server.port.transport == .https ? .https : .tls
            } else if let mode = server.tls?.mode, server.port.transport == .https || server.port.transport == .tls {
                transport = mode == .autoPassthrough ? .automaticPassthrough : .passthrough
            } else {
                transport = .tcp
            }
        }
    }

    fileprivate init(
        _ listener: GatewayAPI.Listener, at index: Int, of key: ObjectKey, gateway: GatewayAPI.Gateway,
        targets: [Int: Int], refers: (ObjectKey) -> Bool
    ) {
        self.gateway = key
        path = "spec.listeners[\(index)]"
        name = listener.name
        port = listener.port
        listenerPort = targets[port] ?? port
        bind = nil
        // Which routes may hang on it, allowedRoutes says.
        hosts = [Istio.ScopedHost(namespace: "*", host: listener.hostname ?? "*")]
        redirectsToHTTPS = false
        let isPassthrough = listener.tls?.mode == .passthrough
        switch listener.transport {
        case .http: transport = .http
        case .https: transport = .https
        case .tls: transport = isPassthrough ? .passthrough : .tls
        case .tcp, .udp: transport = .tcp
        }
        guard let tls = listener.tls, !isPassthrough else {
            self.tls = nil
            return
        }
        var ending = GatewayTLS()
        let targets = tls.certificates.map {
            ObjectKey(.secret, $0.namespace ?? key.namespace, $0.name)
        }
        ending.certificateSecrets = targets.filter(refers).map { GatewayTLS.secret($0.name, in: $0.namespace) }
        if let validation = gateway.clientValidationByPort[listener.port] ?? gateway.clientValidation,
            let root = validation.roots.first
        {
            ending.clientCertificate = validation.mode == .insecureFallback ? .optional : .required
            ending.skipsVerification = validation.mode == .insecureFallback
            ending.rootSecret = GatewayTLS.roots(GatewayTLS.secret(root.name, in: root.namespace ?? key.namespace))
        }
        self.tls = ending
    }
}

extension GatewayTLS {
    init(_ tls: Istio.ServerTLS) {
        certificateSecrets = tls.credentialNames.map { Self.secret($0) }
        files = tls.credentialNames.isEmpty ? tls.files : []
        subjectAltNames = tls.subjectAltNames
        (minVersion, maxVersion, cipherSuites) = (tls.minVersion, tls.maxVersion, tls.cipherSuites)
        skipsVerification = tls.skipsVerification
        switch tls.mode {
        case .simple, .passthrough, .autoPassthrough: return
        case .mutual: clientCertificate = .required
        case .optionalMutual: clientCertificate = .optional
        case .istioMutual: (clientCertificate, isOfMesh) = (.required, true)
        }
        rootFile = tls.caCertificates ?? tls.files.first?.caCertificates
        revocationFile = tls.crl
        rootSecret = (tls.caCredentialName ?? tls.credentialNames.first).map { Self.roots(Self.secret($0)) }
    }
}
