import EnvoyAPI
import Mesh
import Protobuf
import XDS

extension Translator {
    /// The most that a direct response may have, in bytes.
    private static let bodyLimit: UInt32 = 1 << 20

    /// A route configuration of packed virtual hosts, and of what becomes of requests for any other host: they go where
    /// the client meant them to go, or are refused, as the mesh or the clients' Sidecar says.
    ///
    /// A domain that several virtual hosts have stays with the one whose own host it is, else with the first: Envoy
    /// refuses the whole configuration otherwise.
    public func routeConfiguration(
        named name: String, port: Int, virtualHosts: [[UInt8]], for scope: OutboundScope
    ) -> XDS.Resource {
        let hosts = virtualHosts + packedCatchAll(for: scope)
        let made = routeConfiguration(named: name, virtualHosts: hosts, for: scope.kind)
        return patched([made], for: scope).first ?? made
    }

    /// The same of virtual hosts that are put together already, ``packedCatchAll(for:)`` among them, and that share no
    /// domain.
    func routeConfiguration(named name: String, packedHosts: [UInt8], for scope: OutboundScope) -> XDS.Resource {
        let made = Resource(.route, name: name, body: head(named: name, for: scope.kind) + packedHosts)
        return patched([made], for: scope).first ?? made
    }

    /// What becomes of requests for hosts that nobody has; programs without a proxy ask for none.
    func packedCatchAll(for scope: OutboundScope) -> [[UInt8]] {
        scope.kind == .proxyless ? [] : [pack(catchAll(for: scope), for: scope.kind)]
    }

    /// Everything but the virtual hosts.
    private func head(named name: String, for kind: ProxyClass.Kind) -> [UInt8] {
        encode(
            arena.make(RouteConfiguration.self) { configuration in
                configuration.name = arena(name)
                configuration.validate_clusters = arena.bool(false)
                if kind != .proxyless {
                    configuration.max_direct_response_body_size_bytes = arena.u32(Self.bodyLimit)
                    configuration.set(ignore_port_in_host_matching: true)
                }
            })
    }

    func routeConfiguration(
        named name: String, virtualHosts: [[UInt8]], for kind: ProxyClass.Kind
    ) -> XDS.Resource {
        var body = head(named: name, for: kind)
        for host in PackedVirtualHost.withoutSharedDomains(virtualHosts) { PackedVirtualHost.append(host, to: &body) }
        return Resource(.route, name: name, body: body)
    }

    /// What becomes of requests for hosts that nobody has.
    private func catchAll(for scope: OutboundScope) -> VirtualHostPlan {
        var outbound = mesh.config.outbound
        if let key = scope.sidecar, case .sidecar(let sidecar)? = mesh.object(key)?.body, let own = sidecar.outbound {
            outbound = own
        }
        let rule: RouteRule
        switch outbound {
        case .allowAny:
            let target = Forwarding.Target(
                cluster: ResourceNames.passthrough, host: "*", port: 0, subset: "", weight: 1)
            rule = RouteRule(
                origin: nil, name: "allow_any", action: .forward(Forwarding(targets: [target])), retries: .none)
        case .registryOnly:
            rule = RouteRule(origin: nil, name: "block_all", action: .respond(status: 502, body: nil))
        }
        return VirtualHostPlan(name: rule.name, domains: ["*"], rules: [rule])
    }

    /// The route of everything that comes in at a port to the application behind the sidecar, for use in the listener
    /// itself.
    /// - Parameters:
    ///   - number: the workload's port.
    ///   - operation: in traces: the service's host and port.
    ///   - transport: what the port is said to speak.
    func inboundRoute(
        number: Int, operation: String, transport: PortProtocol?
    ) -> UnsafeMutablePointer<RouteConfiguration> {
        let cluster = ResourceNames.inbound(number)
        return arena.make { configuration in
            configuration.name = arena(cluster)
            configuration.validate_clusters = arena.bool(false)
            let route = arena.make(Route.self) { route in
                route.name = arena("default")
                route.match = match(.everything)
                route.decorator = arena.make { $0.operation = arena("\(operation)/*") }
                route.set(
                    route: arena.make { action in
                        action.set(cluster: arena(cluster))
                        action.timeout = arena.seconds(0)
                        action.max_stream_duration = arena.make {
                            $0.max_stream_duration = arena.seconds(0)
                            $0.grpc_timeout_header_max = arena.seconds(0)
                        }
                        // A stream of gRPC must not begin anew.
                        if transport != .grpc {
                            action.retry_policy = arena.make {
                                $0.retry_on = arena("reset-before-request")
                                $0.num_retries = arena.u32(2)
                            }
                        }
                    })
            }
            (configuration.n_virtual_hosts, configuration.virtual_hosts) = arena.list(
                arena.make(VirtualHost.self) { host in
                    host.name = arena("inbound|http|\(number)")
                    (host.n_domains, host.domains) = arena.strings(["*"])
                    (host.n_routes, host.routes) = arena.list(route)
                })
        }
    }
}

/// A packed `VirtualHost`, of which only the domains are looked at: a mesh's virtual hosts are put together as bytes.
enum PackedVirtualHost {
    /// The hosts without the domains that another has; those that have none left are gone.
    static func withoutSharedDomains(_ hosts: [[UInt8]]) -> [[UInt8]] {
        let domains = hosts.map { Self.domains($0) }
        var owners: [String: Int] = [:]
        owners.reserveCapacity(hosts.count * 4)
        for (index, names) in domains.enumerated() {
            if let own = names.first, owners[own] == nil { owners[own] = index }
        }
        for (index, names) in domains.enumerated() {
            for name in names where owners[name] == nil { owners[name] = index }
        }
        return hosts.indices.compactMap { index in
            let kept = domains[index].filter { owners[$0] == index }
            if kept.count == domains[index].count { return hosts[index] }
            return kept.isEmpty ? nil : replacingDomains(hosts[index], by: kept)
        }
    }

    /// As field 2 of RouteConfiguration.
    static func append(_ host: [UInt8], to body: inout [UInt8]) {
        body.append(0x12)
        append(varint: host.count, to: &body)
        body += host
    }

    static func domains(_ host: [UInt8]) -> [String] {
        fields(host).filter { $0.number == 2 }.map {
            String(decoding: host[$0.content], as: UTF8.self).lowercased()
        }
    }

    private static func replacingDomains(_ host: [UInt8], by domains: [String]) -> [UInt8] {
        var result: [UInt8] = []
        for field in fields(host) where field.number != 2 { result += host[field.whole] }
        for domain in domains {
            result.append(0x12)
            append(varint: domain.utf8.count, to: &result)
            result += Array(domain.utf8)
        }
        return result
    }

    static func append(varint value: Int, to bytes: inout [UInt8]) {
        var rest = UInt64(value)
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }

    private struct Field {
        var number: Int
        var whole: Range<Int>
        var content: Range<Int>
    }

    /// The fields of a message that we packed ourselves.
    private static func fields(_ bytes: [UInt8]) -> [Field] {
        var fields: [Field] = []
        var place = 0
        func varint() -> Int {
            var (value, shift) = (0, 0)
            while place < bytes.count {
                let byte = bytes[place]
                place += 1
                value |= Int(byte & 0x7F) << shift
                shift += 7
                if byte < 0x80 { break }
            }
            return value
        }
        while place < bytes.count {
            let start = place
            let tag = varint()
            var content = place..<place
            switch tag & 7 {
            case 0: _ = varint()
            case 1: place += 8
            case 5: place += 4
            case 2:
                let length = varint()
                content = place..<(place + length)
                place += length
            default: preconditionFailure("a virtual host that was not packed by us")
            }
            fields.append(Field(number: tag >> 3, whole: start..<place, content: content))
        }
        return fields
    }
}
