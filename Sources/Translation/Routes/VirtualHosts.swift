import Addresses
import EnvoyAPI
import Mesh
import Protobuf

/// Hosts and the rules for their requests.
public struct VirtualHostPlan: Hashable, Sendable {
    public var name: String
    /// The host itself first, then the other names that clients know it by.
    public var domains: [String]
    public var rules: [RouteRule]
    /// Whether plaintext requests are sent to HTTPS.
    public var redirectsToHTTPS = false

    public init(name: String, domains: [String], rules: [RouteRule]) {
        self.name = name
        self.domains = domains
        self.rules = rules
    }

    /// The rule that decides about a request; nil is Envoy's 404.
    public func rule(for request: RoutedRequest) -> RouteRule? { rules.first { $0.match.matches(request) } }
}

extension Translator {
    /// The packed virtual host of one port of a service; nil where the service has no such port, or one that never
    /// carries HTTP.
    public func virtualHost(for service: MeshService, port: Int, for scope: OutboundScope) -> [UInt8]? {
        virtualHostPlan(for: service, port: port, for: scope).map { pack($0, for: scope.kind) }
    }

    /// What ``virtualHost(for:port:for:)`` says.
    public func virtualHostPlan(
        for service: MeshService, port: Int, for scope: OutboundScope
    ) -> VirtualHostPlan? {
        guard let stated = service.port(port), stated.statedProtocol?.isHTTP ?? true else { return nil }
        var rules = meshRules(for: service, port: port, for: scope)
        if rules.isEmpty { rules = [defaultRule(to: service, port: port, for: scope)] }
        return VirtualHostPlan(
            name: "\(service.host):\(port)", domains: domains(of: service, port: port, for: scope), rules: rules)
    }

    /// What objects say about requests to a service; empty where none does.
    private func meshRules(for service: MeshService, port: Int, for scope: OutboundScope) -> [RouteRule] {
        let mesh = Istio.VirtualService.meshGateway
        let setting = RouteSetting(gateway: mesh, port: port, scope: scope)
        for object in self.mesh.virtualServices(for: service.host, gateway: mesh, from: scope.namespace) {
            guard case .virtualService(let virtual) = object.body, isInScope(object, scope) else { continue }
            // Of several for one host the oldest alone counts.
            return self.rules(of: object, virtual, host: service.host, in: setting)
        }
        let routes = routes([.httpRoute, .grpcRoute], on: service, port: port, for: scope)
        return self.rules(of: routes, host: service.host, in: setting)
    }

    private func defaultRule(to service: MeshService, port: Int, for scope: OutboundScope) -> RouteRule {
        let target = Forwarding.Target(
            cluster: ResourceNames.outbound(port, service.host), host: service.host, port: port, subset: "", weight: 1)
        return RouteRule(
            origin: nil, name: "default",
            action: .forward(Forwarding(targets: [target], hash: hashKey(of: target, for: scope).map { [$0] } ?? [])),
            operation: "\(service.host):\(port)/*")
    }

    /// The packed virtual hosts of VirtualServices whose hosts no service has.
    public func extraVirtualHosts(port: Int, for scope: OutboundScope) -> [[UInt8]] {
        extraVirtualHostPlans(port: port, for: scope).map { pack($0, for: scope.kind) }
    }

    /// What ``extraVirtualHosts(port:for:)`` say, sorted by host.
    public func extraVirtualHostPlans(port: Int, for scope: OutboundScope) -> [VirtualHostPlan] {
        let gateway = Istio.VirtualService.meshGateway
        let setting = RouteSetting(gateway: gateway, port: port, scope: scope)
        var plans: [String: VirtualHostPlan] = [:]
        let objects = mesh.objects(of: .virtualService).filter { mesh.isExported($0, to: scope.namespace) }
        for object in objects.sorted(by: { $0.isOlder(than: $1) }) {
            guard case .virtualService(let service) = object.body, !service.http.isEmpty,
                service.gateways.contains(gateway), isInScope(object, scope)
            else { continue }
            for stated in service.hosts {
                let host = mesh.fullHost(stated, in: object.key.namespace)
                guard host != "*", plans[host] == nil, !hasService(host, for: scope) else { continue }
                let rules = rules(of: object, service, host: host, in: setting)
                if rules.isEmpty { continue }
                plans[host] = VirtualHostPlan(
                    name: "\(host):\(port)", domains: domains(of: host, isHeadless: false, port: port, for: scope),
                    rules: rules)
            }
        }
        return plans.values.sorted { $0.name < $1.name }
    }

    /// Whether a service has this host itself; for a wildcard, whether any is below it.
    private func hasService(_ host: String, for scope: OutboundScope) -> Bool {
        let found = mesh.services(matching: host, from: scope.namespace)
        return host.hasPrefix("*") ? !found.isEmpty : found.contains { $0.host == host }
    }

    /// Whether the Sidecar of these clients lets them see a VirtualService.
    private func isInScope(_ object: MeshObject, _ scope: OutboundScope) -> Bool {
        guard let key = scope.sidecar, case .sidecar(let sidecar)? = mesh.object(key)?.body, !sidecar.egress.isEmpty,
            case .virtualService(let service) = object.body
        else { return true }
        return sidecar.egress.flatMap(\.hosts).contains { scoped in
            switch scoped.namespace {
            case "*": break
            case "~": return false
            case ".": if object.key.namespace != key.namespace { return false }
            default: if object.key.namespace != scoped.namespace { return false }
            }
            return service.hosts.contains {
                overlap(scoped.host.lowercased(), mesh.fullHost($0, in: object.key.namespace)) != nil
            }
        }
    }

    // MARK: Domains

    func domains(of service: MeshService, port: Int, for scope: OutboundScope) -> [String] {
        var names = domains(
            of: service.host, isHeadless: service.isHeadless && service.key.kind == .service, port: port, for: scope)
        for block in service.addresses where block.bits == block.address.bitCount {
            guard !block.address.isUnspecified else { continue }
            let text = block.address.isIPv4 ? block.address.text : "[\(block.address.text)]"
            names.append(text)
        }
        return names
    }

    /// A host as clients of a namespace may write it: a Service's also without what they share with it.
    private func domains(of host: String, isHeadless: Bool, port: Int, for scope: OutboundScope) -> [String] {
        var names = [host]
        let suffix = ".svc.cluster.local"
        let parts = host.hasSuffix(suffix) ? host.dropLast(suffix.count).split(separator: ".") : []
        if parts.count == 2, !host.hasPrefix("*") {
            names += ["\(parts[0]).\(parts[1])", "\(parts[0]).\(parts[1]).svc"]
            if parts[1] == scope.namespace { names.append(String(parts[0])) }
        }
        if isHeadless { names += names.map { "*." + $0 } }
        // The others leave the port out before they compare.
        if scope.kind == .proxyless { names += names.map { "\($0):\(port)" } }
        return names
    }

    // MARK: Packing

    func pack(_ plan: VirtualHostPlan, for kind: ProxyClass.Kind) -> [UInt8] {
        encode(
            arena.make(VirtualHost.self) { host in
                host.name = arena(plan.name)
                (host.n_domains, host.domains) = arena.strings(plan.domains)
                (host.n_routes, host.routes) = arena.list(plan.rules.map { route($0, for: kind) })
                if plan.redirectsToHTTPS { host.require_tls = .ALL }
                host.set(include_request_attempt_count: true)
            })
    }
}

/// The narrower of two hosts, one of which may be a wildcard below which the other is; nil if they have nothing in
/// common.
func overlap(_ one: String, _ other: String) -> String? {
    switch (one.hasPrefix("*"), other.hasPrefix("*")) {
    case (false, false): one == other ? one : nil
    case (true, false): other.hasSuffix(one.dropFirst()) ? other : nil
    case (false, true): one.hasSuffix(other.dropFirst()) ? one : nil
    case (true, true):
        one.hasSuffix(other.dropFirst()) ? one : other.hasSuffix(one.dropFirst()) ? other : nil
    }
}

extension IPAddress {
    /// As people write it. Source: RFC 5952.
    var text: String {
        if isIPv4 { return bytes.map(String.init).joined(separator: ".") }
        let groups = stride(from: 0, to: 16, by: 2).map { Int(bytes[$0]) << 8 | Int(bytes[$0 + 1]) }
        var longest = 0..<0
        var start = 0
        while start < groups.count {
            var end = start
            while end < groups.count, groups[end] == 0 { end += 1 }
            if end - start > max(1, longest.count) { longest = start..<end }
            start = max(end, start + 1)
        }
        func joined(_ part: ArraySlice<Int>) -> String {
            part.map { String($0, radix: 16) }.joined(separator: ":")
        }
        if longest.isEmpty { return joined(groups[...]) }
        return joined(groups[..<longest.lowerBound]) + "::" + joined(groups[longest.upperBound...])
    }
}
