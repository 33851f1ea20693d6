import Documents

extension MeshIndex {
    func findings(_ object: MeshObject, _ rule: Istio.DestinationRule) -> [MeshFinding] {
        var findings: [MeshFinding] = []
        let services = services(matching: rule.host, from: object.key.namespace)
        if services.isEmpty { findings.append(noSuchHost(object, rule.host, at: "spec.host")) }
        let full = Self.statedHost(rule.host, in: object.key.namespace)
        let rivals = objects(claims[full]).filter { other in
            guard case .destinationRule(let otherRule) = other.body else { return false }
            return other.key != object.key && other.key.namespace == object.key.namespace
                && otherRule.workloadSelector == rule.workloadSelector && other.isOlder(than: object)
        }
        if let rival = rivals.first {
            findings.append(
                object.finding(
                    .warning, .conflictingPolicy, at: "spec.host",
                    "\(rival.key) is for this host too: its traffic policy holds, and subsets are merged",
                    mend: "put both into one"))
        }
        for (index, subset) in rule.subsets.enumerated() {
            guard let labels = serviceSelector(services), !subset.labels.isEmpty else { continue }
            let wanted = labels.selector.merging(subset.labels) { _, own in own }
            if workloads(with: wanted, in: labels.namespace).isEmpty,
                !workloads(with: labels.selector, in: labels.namespace).isEmpty
            {
                findings.append(
                    object.finding(
                        .warning, .selectsNothing, at: "spec.subsets[\(index)].labels",
                        "no workload of `\(rule.host)` has the labels of subset `\(subset.name)`",
                        mend: "correct the labels, or start the workload"))
            }
        }
        let portNumbers = Set(services.flatMap(\.ports).map(\.number))
        for (index, settings) in (rule.trafficPolicy?.ports ?? []).enumerated()
        where !portNumbers.isEmpty && !portNumbers.contains(settings.port) {
            findings.append(
                object.finding(
                    .warning, .unknownPort, at: "spec.trafficPolicy.portLevelSettings[\(index)].port.number",
                    "`\(rule.host)` has no port \(settings.port)",
                    mend: "it has " + portNumbers.sorted().map(String.init).joined(separator: ", ")))
        }
        return findings
    }

    private func serviceSelector(_ services: [ServiceHost]) -> (selector: [String: String], namespace: String)? {
        for service in services {
            switch self[service.key]?.body {
            case .service(let body) where !body.selector.isEmpty: return (body.selector, service.namespace)
            case .serviceEntry(let entry):
                if let selector = entry.workloadSelector { return (selector.labels, service.namespace) }
            default: continue
            }
        }
        return nil
    }

    func findings(_ object: MeshObject, _ gateway: Istio.Gateway) -> [MeshFinding] {
        var findings: [MeshFinding] = []
        let runners = allNamespaces.flatMap { workloads(with: gateway.selector, in: $0) }
        if runners.isEmpty {
            findings.append(
                object.finding(
                    .warning, .gatewayNobodyRuns, at: "spec.selector", "no workload has these labels: nobody runs it",
                    mend: "start a gateway proxy with these labels, or correct them"))
        }
        let namespaces = Set(runners.map(\.id.namespace) + [object.key.namespace]).sorted()
        for (index, server) in gateway.servers.enumerated() {
            for name in server.tls?.credentialNames ?? []
            where !namespaces.contains(where: { self[ObjectKey(.secret, $0, name)] != nil }) {
                findings.append(
                    object.finding(
                        .warning, .unknownSecret, at: "spec.servers[\(index)].tls.credentialName",
                        "there is no Secret `\(name)` in \(namespaces.joined(separator: ", "))",
                        mend: "add it where the gateway runs"))
            }
        }
        return findings
    }

    func findings(_ object: MeshObject, _ entry: Istio.ServiceEntry) -> [MeshFinding] {
        var findings: [MeshFinding] = []
        if let selector = entry.workloadSelector, workloads(with: selector.labels, in: object.key.namespace).isEmpty {
            findings.append(
                object.finding(
                    .warning, .selectsNothing, at: "spec.workloadSelector.labels", "no workload has these labels",
                    mend: "correct the labels, or add a WorkloadEntry"))
        }
        for (index, host) in entry.hosts.enumerated() {
            let host = host.lowercased()
            if let service = serviceMeant(by: host, in: object.key.namespace) {
                findings.append(
                    object.finding(
                        .warning, .hostClaimedTwice, at: "spec.hosts[\(index)]",
                        "`\(host)` is short for \(service): who calls that by this name comes here instead",
                        mend: "write another host, or call the Service by its full name"))
            }
            let holders = host.hasPrefix("*") ? wildcardHosts[String(host.dropFirst())] : hosts[host]
            let rivals = objects(holders).filter {
                $0.key != object.key && $0.key.namespace == object.key.namespace && $0.isOlder(than: object)
            }
            if let rival = rivals.first {
                findings.append(
                    object.finding(
                        .warning, .hostClaimedTwice, at: "spec.hosts[\(index)]",
                        "\(rival.key) has the host `\(host)` too: their ports are put together",
                        mend: "put both into one"))
            }
        }
        return findings
    }

    /// The Service of which a host is a shorter form for clients of some namespace.
    private func serviceMeant(by host: String, in namespace: String) -> ObjectKey? {
        let parts = host.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 1 || parts.count == 2 || parts.count == 3 && parts[2] == "svc" else { return nil }
        let key = ObjectKey(.service, parts.count == 1 ? namespace : parts[1], parts[0])
        return self[key] == nil ? nil : key
    }

    func findings(_ object: MeshObject, _ service: Kubernetes.Service) -> [MeshFinding] {
        guard !service.selector.isEmpty, service.kind != .externalName else { return [] }
        let selected = workloads(with: service.selector, in: object.key.namespace)
        let hasSlices = objects(naming: object.key).contains { $0.key.kind == .endpointSlice }
        if selected.isEmpty {
            guard !hasSlices else { return [] }
            return [
                object.finding(
                    .warning, .selectsNothing, at: "spec.selector", "no workload has these labels: it has no endpoints",
                    mend: "correct the labels, or start the workload")
            ]
        }
        var findings: [MeshFinding] = []
        for (index, port) in service.ports.enumerated() {
            guard case .text(let name)? = port.targetPort,
                !selected.contains(where: { $0.ports.contains { $0.name == name } || $0.source?.kind == .workloadEntry }
                )
            else { continue }
            findings.append(
                object.finding(
                    .warning, .unknownPort, at: "spec.ports[\(index)].targetPort",
                    "no workload behind it names a port `\(name)`", mend: "name the container's port, or write a number"
                ))
        }
        return findings
    }

    func sliceFindings(_ object: MeshObject) -> [MeshFinding] {
        let label = Kubernetes.EndpointSlice.serviceLabel
        guard let name = object.metadata.labels[label] else {
            return [
                object.finding(
                    .warning, .unknownObject, at: "metadata.labels", "it names no Service",
                    mend: "add the label \(label)")
            ]
        }
        guard self[ObjectKey(.service, object.key.namespace, name)] == nil else { return [] }
        return [
            object.finding(
                .warning, .unknownObject, at: "metadata.labels[\"\(label)\"]", "there is no Service `\(name)`",
                mend: "add it, or correct the label")
        ]
    }

    func accountFindings(_ object: MeshObject, _ account: String, _ path: String) -> [MeshFinding] {
        guard account != "default", self[ObjectKey(.serviceAccount, object.key.namespace, account)] == nil else {
            return []
        }
        return [
            object.finding(
                .warning, .unknownObject, at: path, "there is no ServiceAccount `\(account)`",
                mend: suggestion(
                    for: account, among: objects(of: .serviceAccount, in: object.key.namespace).map(\.key.name)
                ).map { "did you mean `\($0)`?" } ?? "add it, or correct the name")
        ]
    }

    func findings(_ object: MeshObject, _ sidecar: Istio.Sidecar) -> [MeshFinding] {
        var findings: [MeshFinding] = []
        for (index, listener) in sidecar.egress.enumerated() {
            for (number, scoped) in listener.hosts.enumerated() where !scoped.host.hasPrefix("*") {
                let namespace = scoped.namespace == "." ? object.key.namespace : scoped.namespace
                guard namespace != "~", services(matching: scoped.host, from: object.key.namespace).isEmpty else {
                    continue
                }
                findings.append(
                    noSuchHost(object, scoped.host, at: "spec.egress[\(index)].hosts[\(number)]"))
            }
        }
        return findings
    }

    func findings(_ object: MeshObject, _ policy: Istio.AuthorizationPolicy) -> [MeshFinding] {
        let everybody = policy.scope.isWide ? "every workload of the namespace" : "the selected workloads"
        switch policy.action {
        case .allow where policy.rules.isEmpty:
            return [
                object.finding(
                    .warning, .locksOutEverybody, at: "spec", "it allows nothing: \(everybody) refuse every call",
                    mend: "add `rules:`; if that is meant, other ALLOW policies make the exceptions")
            ]
        case .deny:
            guard let index = policy.rules.firstIndex(where: \.matchesEverything) else { return [] }
            return [
                object.finding(
                    .warning, .locksOutEverybody, at: "spec.rules[\(index)]",
                    "it denies everything: \(everybody) refuse every call", mend: "add `from`, `to` or `when`")
            ]
        case .custom:
            let name = policy.provider ?? ""
            if case .authorization? = config.provider(name)?.work { return [] }
            return [
                object.finding(
                    .warning, .unknownObject, at: "spec.provider.name",
                    "no provider `\(excerpt(name))` decides: \(everybody) refuse what the rules match",
                    mend: "add it to `extensionProviders` of the MeshConfig with `envoyExtAuthzGrpc` or "
                        + "`envoyExtAuthzHttp`")
            ]
        case .allow, .audit: return []
        }
    }

    /// Targets of a policy that nothing here stands for.
    func targetFindings(_ object: MeshObject) -> [MeshFinding] {
        guard let scope = object.policyScope else { return [] }
        let field = object.source.node?["spec"]?["targetRef"] == nil ? "targetRefs" : "targetRef"
        return scope.targets.enumerated().filter { !$0.element.isGateway }.map { index, target in
            object.finding(
                .warning, .unsupportedField, at: field == "targetRef" ? "spec.targetRef" : "spec.targetRefs[\(index)]",
                "a \(excerpt(target.kind)) needs a waypoint, and there are none here: nothing acts on it",
                mend: "write `selector:` with the labels of its workloads, or a target of kind Gateway")
        }
    }
}
