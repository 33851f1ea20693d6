import Addresses
import Mesh
import XDS

extension Translator {
    /// What becomes of a request. Everything is asked of the same rules that proxies are configured with, so that what
    /// is said here is what they do.
    /// - Parameter proxy: the caller's own, where it is connected; nil: one that intercepts.
    public func explain(_ question: TrafficQuestion, from proxy: ProxyClass? = nil) -> Explanation {
        question.caller.hasSidecar ? explainFromSidecar(question, proxy) : explainWithoutSidecar(question)
    }

    private func explainFromSidecar(_ question: TrafficQuestion, _ connected: ProxyClass?) -> Explanation {
        let caller = question.caller
        let proxy =
            connected
            ?? ProxyClass(namespace: caller.namespace, labels: caller.labels, serviceAccount: caller.serviceAccount)
        let scope = wholeScope(of: proxy)
        let services = visibleServices(for: scope)
        let found = called(question, among: services, scope)
        var result = explanation(question, found?.service, host: found?.host)
        result.identity = identity(namespace: caller.namespace, serviceAccount: caller.serviceAccount)
        if found == nil { result.notes += invisible(question, scope) }
        if let service = found?.service, service.port(result.port) == nil {
            let ports = service.ports.map { "\($0.number)" }.joined(separator: ", ")
            result.notes.append("\(service.host) has no port \(result.port), only \(ports)")
        }

        let plan = outboundPlan(for: proxy, scope: scope, services: services)
        let listener = Self.listener(for: result.port, found?.service, in: plan)
        result.listener = listener?.name ?? ResourceNames.virtualOutbound
        let transport = found?.service.port(result.port)?.statedProtocol
        guard let listener, transport?.isHTTP ?? (listener.routeName != nil) else {
            explainStream(found?.service, &result, scope)
            return result
        }
        explainRequest(listener, services, &result, scope)
        return result
    }

    /// A request that nothing routes goes to any endpoint of the service, in plaintext and without an identity.
    private func explainWithoutSidecar(_ question: TrafficQuestion) -> Explanation {
        // Nobody limits what it sees, as nobody limits what gateways see.
        let scope = OutboundScope(namespace: question.caller.namespace, kind: .gateway)
        let found = called(question, among: visibleServices(for: scope), scope)
        var result = explanation(question, found?.service, host: found?.host)
        result.notes.append("the caller has no sidecar: nothing routes what it calls, and it has no identity")
        guard let service = found?.service, service.port(result.port) != nil else {
            result.outcome = .passedThrough
            return result
        }
        let target = Forwarding.Target(
            cluster: ResourceNames.outbound(result.port, service.host), host: service.host, port: result.port,
            subset: "", weight: 1)
        let request = service.port(result.port)?.statedProtocol?.isHTTP ?? true ? request(of: question) : nil
        result.shares = [share(target, percent: 100, request, &result, scope)]
        return result
    }

    // MARK: What is called

    /// The scope of one client of whom everything is known.
    func wholeScope(of proxy: ProxyClass) -> OutboundScope {
        let choosers = mesh.objects(of: .destinationRule).filter { object in
            guard case .destinationRule(let rule) = object.body, let selector = rule.workloadSelector else {
                return false
            }
            return object.key.namespace == proxy.namespace && selector.selects(proxy.labels)
        }.map(\.key)
        let filters = mesh.policies(.envoyFilter, selecting: proxy.labels, in: proxy.namespace).filter {
            $0.policyScope.map { $0.targets.isEmpty && !$0.isWide } ?? false
        }.map(\.key)
        return OutboundScope(
            namespace: proxy.namespace, kind: proxy.kind, sidecar: sidecar(for: proxy)?.key,
            choosers: (choosers + filters).sorted(),
            labels: proxy.labels, locality: proxy.locality, followsDestination: proxy.isIntercepted)
    }

    /// The service that a host stands for, by its names or by its address.
    private func called(
        _ question: TrafficQuestion, among services: [MeshService], _ scope: OutboundScope
    ) -> (service: MeshService, host: String)? {
        if let address = IPAddress(question.host) {
            return services.first { $0.addresses.contains { $0.contains(address) } }.map { ($0, $0.host) }
        }
        let host = mesh.fullHost(question.host, in: scope.namespace)
        guard let own = service(host, in: scope.namespace, for: scope),
            let visible = services.first(where: { $0.host == own.host })
        else { return nil }
        return (visible, host)
    }

    private func explanation(
        _ question: TrafficQuestion, _ service: MeshService?, host: String?
    ) -> Explanation {
        let only = service.flatMap { $0.ports.count == 1 ? $0.ports[0].number : nil }
        return Explanation(
            question: question, host: host ?? mesh.fullHost(question.host, in: question.caller.namespace),
            port: question.port ?? only ?? 80, service: service.map { place($0.key) }, outcome: .forwarded)
    }

    /// Why nothing is found under a host that something has.
    private func invisible(_ question: TrafficQuestion, _ scope: OutboundScope) -> [String] {
        let host = mesh.fullHost(question.host, in: scope.namespace)
        let owners = (mesh.objects(of: .service) + mesh.objects(of: .serviceEntry)).filter { object in
            MeshService.services(of: object).contains { $0.host == host }
        }
        guard let owner = owners.first else { return ["no Service and no ServiceEntry has the host \(host)"] }
        let isolation =
            "it is not exported to \(scope.namespace)"
            + (isIsolated(scope) ? ", or no ALLOW policy lets a workload of that namespace in" : "")
        let reason = scope.sidecar.map { "\($0) does not name it" } ?? isolation
        return ["\(owner.key) has the host \(host), and is not visible here: \(reason)"]
    }

    /// The listener that takes a connection: that of the service's own address before that of the port.
    private static func listener(
        for port: Int, _ service: MeshService?, in plan: [OutboundListener]
    ) -> OutboundListener? {
        let candidates = plan.filter { $0.port == port }
        let own = Set((service?.addresses ?? []).map(\.address.text))
        return candidates.first { own.contains($0.address) } ?? candidates.first { $0.address == anyAddress }
            ?? candidates.first
    }

    // MARK: HTTP

    private func request(of question: TrafficQuestion) -> RoutedRequest {
        RoutedRequest(
            authority: question.port.map { "\(question.host):\($0)" } ?? question.host, method: question.method,
            path: question.path, headers: question.headers)
    }

    private func explainRequest(
        _ listener: OutboundListener, _ services: [MeshService], _ result: inout Explanation, _ scope: OutboundScope
    ) {
        let port = result.port
        result.routes = listener.routeName
        let plans =
            services.compactMap { virtualHostPlan(for: $0, port: port, for: scope) }
            + extraVirtualHostPlans(port: port, for: scope)
        let request = request(of: result.question)
        guard let host = VirtualHostPlan.first(for: result.question.host, in: plans) else {
            if standardCluster(for: scope) == ResourceNames.passthrough {
                (result.virtualHost, result.outcome) = ("allow_any", .passedThrough)
            } else {
                result.virtualHost = "block_all"
                result.outcome = .refused(status: 502, "no object names the host, and the mesh lets nothing else out")
            }
            return
        }
        result.virtualHost = host.name
        guard let rule = host.rule(for: request) else {
            result.outcome = .refused(status: 404, "no rule of the host takes the request")
            return
        }
        result.rule = Explanation.Rule(name: rule.name, place: rule.origin.map { place($0.object, $0.path) })
        result.effects = rule.effects
        result.fault = rule.fault.map { fault in
            var told = Explanation.Fault()
            switch fault.abort?.error {
            case .http(let status): told.abortStatus = "\(status)"
            case .grpc(let status): told.abortStatus = status
            case nil: break
            }
            told.abortPercent = fault.abort?.percentage ?? 0
            (told.delay, told.delayPercent) = (fault.delay?.fixed, fault.delay?.percentage ?? 0)
            return told
        }
        switch rule.action {
        case .redirect(let redirection):
            result.outcome = .redirected(status: redirection.code, to: redirection.target(of: request, rule.match))
        case .respond(let status, _): result.outcome = .answered(status: status)
        case .forward(let forwarding):
            let total = forwarding.targets.reduce(0) { $0 + $1.weight }
            for target in forwarding.targets {
                let percent = total == 0 ? 100 : Double(target.weight) * 100 / Double(total)
                let changed = request.changed(by: rule, forwarding, target)
                result.shares.append(share(target, percent: percent, changed, &result, scope))
            }
        }
    }

    // MARK: Streams

    private func explainStream(_ service: MeshService?, _ result: inout Explanation, _ scope: OutboundScope) {
        guard let service, let port = service.port(result.port) else {
            if standardCluster(for: scope) == ResourceNames.passthrough {
                result.outcome = .passedThrough
            } else {
                result.outcome = .refused(status: 502, "no object names it, and the mesh lets nothing else out")
            }
            return
        }
        let name = port.statedProtocol?.isTLS == true ? result.host : nil
        let address = IPAddress(result.question.host) ?? service.addresses.first?.address
        let source = result.question.caller.address.flatMap { IPAddress($0) }
        let route = streamRoutes(of: service, port: port.number, for: scope).first {
            $0.takes(serverName: name, destination: address, source: source)
        }
        guard let route else {
            result.outcome = .refused(status: 0, "no rule takes the connection")
            return
        }
        result.rule = Explanation.Rule(
            name: route.origin.map { "\($0.object.namespace)/\($0.object.name)" } ?? "default",
            place: route.origin.map { place($0.object, $0.path) })
        let total = route.targets.reduce(0) { $0 + $1.weight }
        for target in route.targets {
            let percent = total == 0 ? 100 : Double(target.weight) * 100 / Double(total)
            result.shares.append(share(target, percent: percent, nil, &result, scope))
        }
    }

    // MARK: Servers

    /// - Parameter request: as the server sees it; nil is no HTTP.
    private func share(
        _ target: Forwarding.Target, percent: Double, _ request: RoutedRequest?, _ result: inout Explanation,
        _ scope: OutboundScope
    ) -> Explanation.Share {
        var share = Explanation.Share(
            cluster: target.cluster, host: target.host, port: target.port, subset: target.subset, percent: percent,
            servers: [])
        guard let service = service(target.host, in: scope.namespace, for: scope),
            let outbound = outbound(service, for: scope).first(where: { $0.name == target.cluster })
        else {
            result.notes.append("there is no cluster \(target.cluster): its share fails with 503")
            return share
        }
        share.destinationRule = outbound.policy.rule.map { place($0) }
        if !target.subset.isEmpty { share.subsetPlace = subsetPlace(target.subset, of: target.host, scope) }
        share.servers = servers(of: outbound, request, result)
        if share.servers.isEmpty, outbound.discovery == .told {
            result.notes.append("nothing serves \(target.cluster): its share fails with 503")
        }
        return share
    }

    private func subsetPlace(_ subset: String, of host: String, _ scope: OutboundScope) -> Explanation.Place? {
        for object in mesh.destinationRules(for: host, from: scope.namespace) {
            guard case .destinationRule(let rule) = object.body,
                let index = rule.subsets.firstIndex(where: { $0.name == subset })
            else { continue }
            return place(object.key, "spec.subsets[\(index)]")
        }
        return nil
    }

    private func servers(
        of outbound: OutboundCluster, _ request: RoutedRequest?, _ result: Explanation
    ) -> [Explanation.Server] {
        let selector = Istio.WorkloadSelector(labels: outbound.subset?.labels ?? [:])
        let isExternal: (String, Int) -> Explanation.Server = { address, port in
            Explanation.Server(
                address: address, port: port, workload: "", hasSidecar: false,
                security: self.clientSecurity(outbound) == .origin ? .tls : .plaintext, verdict: .unasked)
        }
        switch outbound.discovery {
        case .host(let host, let port): return [isExternal(host, port)]
        case .forwardProxy: return [isExternal(result.host, outbound.number)]
        case .told, .names, .originalDestination: break
        }
        var servers = outbound.endpoints(self).filter { selector.selects($0.labels) }.map { endpoint in
            let tenant = outbound.backends.tenants[endpoint.address]
            return server(
                endpoint, hasSidecar: endpoint.isMeshed || tenant?.hasSidecar == true, address: endpoint.address,
                outbound, request, result)
        }
        // Who is expected: what its sidecar will say.
        let known = Set(servers.map(\.workload))
        for workload in outbound.backends.workloads
        where workload.addresses.isEmpty && selector.selects(workload.labels) && !known.contains(workload.id.name) {
            let port: Int =
                switch outbound.port.target {
                case .number(let number): number
                case .text(let name): workload.ports.first { $0.name == name }?.port ?? outbound.port.number
                case nil: outbound.port.number
                }
            var endpoint = MeshEndpoint(address: "", port: port, namespace: workload.id.namespace)
            (endpoint.labels, endpoint.workload) = (workload.labels, workload.id.name)
            endpoint.serviceAccount = workload.serviceAccount
            let hasSidecar = workload.labels[Workload.modeLabel] != "disabled"
            endpoint.isMeshed =
                hasSidecar && mutualTLS(of: workload.labels, in: workload.id.namespace, port: port).mode != .disable
            servers.append(
                server(endpoint, hasSidecar: hasSidecar, address: nil, outbound, request, result))
        }
        return servers
    }

    private func server(
        _ endpoint: MeshEndpoint, hasSidecar: Bool, address: String?, _ outbound: OutboundCluster,
        _ request: RoutedRequest?, _ result: Explanation
    ) -> Explanation.Server {
        let security: Explanation.Security
        if result.question.caller.hasSidecar {
            switch clientSecurity(outbound) {
            case .plaintext: security = .plaintext
            case .automatic: security = endpoint.isMeshed ? .mutualTLS : .plaintext
            case .mutual: security = .mutualTLS
            case .origin: security = .tls
            }
        } else {
            security = .plaintext
        }
        var server = Explanation.Server(
            address: address, port: endpoint.port, workload: endpoint.workload, hasSidecar: hasSidecar,
            security: security, verdict: .unasked)
        if let isHealthy = endpoint.isHealthy { server.health = isHealthy ? .healthy : .unhealthy }
        if endpoint.isDraining { server.health = .draining }
        guard hasSidecar else {
            if security == .mutualTLS { server.verdict = .noConnection("it has no sidecar that takes mutual TLS") }
            return server
        }
        let decision = mutualTLS(of: endpoint.labels, in: endpoint.namespace, port: endpoint.port)
        (server.mode, server.modePlace) = (decision.mode, place(decision.object, decision.path))
        switch (decision.mode, security) {
        case (.strict, .plaintext), (.strict, .tls):
            server.verdict = .noConnection("its sidecar takes mutual TLS alone")
            return server
        case (.disable, .mutualTLS):
            server.verdict = .noConnection("its sidecar takes no mutual TLS")
            return server
        default: break
        }
        let proxy = ProxyClass(
            namespace: endpoint.namespace, labels: endpoint.labels,
            serviceAccount: endpoint.serviceAccount ?? "default")
        let access = AccessQuestion(
            identity: security == .mutualTLS ? result.identity : nil,
            address: result.question.caller.address.flatMap { IPAddress($0) }, claims: result.question.claims,
            request: request, port: endpoint.port, serverAddress: address.flatMap { IPAddress($0) },
            serverName: security == .mutualTLS ? outbound.serverName : nil)
        switch authorizationRules(for: proxy).decision(on: access, trustDomain: settings.trustDomain.name) {
        case .allowed(let named): server.verdict = .allowed(named.map { rule($0) })
        case .denied(let named): server.verdict = .denied(named.map { rule($0) })
        case .asked(let named, let provider): server.verdict = .asked(rule(named), provider: provider)
        }
        return server
    }

    private func rule(_ named: AuthorizationRules.Named) -> Explanation.Rule {
        let path = named.index.map { "spec.rules[\($0)]" } ?? "spec.isolateNamespaces"
        return Explanation.Rule(name: named.name, place: place(named.policy, path))
    }

    func place(_ key: ObjectKey, _ path: String = "") -> Explanation.Place {
        guard let object = mesh.object(key) else { return Explanation.Place(object: key, path: path) }
        let finding = object.finding(.warning, .invalidValue, at: path, "", mend: "")
        return Explanation.Place(object: key, path: path, file: finding.file, line: finding.position?.line)
    }
}

extension VirtualHostPlan {
    /// The virtual host that takes a request, as Envoy looks for it: the name itself, then the longest wildcard. A name
    /// that several have stays with the one whose own it is, else with the first.
    static func first(for authority: String, in plans: [VirtualHostPlan]) -> VirtualHostPlan? {
        let name = authority.lowercased()
        func owner(_ domain: String) -> VirtualHostPlan? {
            plans.first { $0.domains.first?.lowercased() == domain }
                ?? plans.first { $0.domains.contains { $0.lowercased() == domain } }
        }
        if let exact = owner(name) { return exact }
        for index in name.indices.dropFirst() {
            if let wide = owner("*" + name[index...]) { return wide }
        }
        return owner("*")
    }
}

extension StreamRoute {
    func takes(serverName: String?, destination: IPAddress?, source: IPAddress?) -> Bool {
        func covers(_ blocks: [AddressBlock], _ address: IPAddress?) -> Bool {
            blocks.isEmpty || address.map { address in blocks.contains { $0.contains(address) } } ?? false
        }
        let names =
            serverNames.isEmpty
            || serverName.map { name in
                serverNames.contains { $0 == name || ($0.hasPrefix("*") && name.hasSuffix($0.dropFirst())) }
            } ?? false
        return names && covers(destinations, destination) && covers(sources, source)
    }
}
