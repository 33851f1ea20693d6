import Certificates
import Documents
import Forwarding
import Logging
import Patterns
import Time
import XDS

// Envoy's admin paths, as far as people and scripts rely on them. Source: Envoy, "Administration interface".
extension Proxy {
    /// - Parameter reply: called once, from any thread.
    func answer(_ request: AdminRequest, _ reply: @escaping @Sendable (AdminResponse) -> Void) {
        switch request.path {
        case "/stats/prometheus": return prometheus(reply)
        case "/healthz/ready", "/ready": return reply(readiness)
        default: break
        }
        guard request.door == .admin else { return reply(AdminResponse("not found\n", status: 404)) }
        switch request.path {
        case "/", "/help": reply(AdminResponse(Self.help))
        case "/stats": statistics(request, reply)
        case "/clusters": clusters(request, reply)
        case "/certs": reply(.json(certificates))
        case "/config_dump": configDump(request, reply)
        case "/listeners": reply(listeners(request))
        case "/server_info": reply(.json(serverInformation))
        case "/logging": logging(request, reply)
        case "/drain_listeners": order(request, reply) { $0.drainListeners() }
        case "/quitquitquit": order(request, reply) { $0.quit() }
        case "/reopen_logs": order(request, reply) { $0.carrier?.reopenLogs() }
        case "/healthcheck/fail": order(request, reply) { $0.failsHealthChecks = true }
        case "/healthcheck/ok": order(request, reply) { $0.failsHealthChecks = false }
        default:
            reply(AdminResponse("invalid path. admin commands are:\n" + Self.help, status: 404))
        }
    }

    private static let help = """
          /: this list
          /certs: certificates in use
          /clusters: clusters, their hosts and limits
          /config_dump: what the control plane sent (resource, include_eds, name_regex)
          /drain_listeners (POST): stop listening and let connections end
          /healthcheck/fail (POST): fail health checks
          /healthcheck/ok (POST): pass health checks
          /help: this list
          /listeners: listeners and their addresses
          /logging (POST): the level of the log (level)
          /quitquitquit (POST): end
          /ready: whether the proxy serves
          /reopen_logs (POST): open the files of access logs again, after they were moved away
          /server_info: version and state
          /stats: counters and gauges (filter, format)
          /stats/prometheus: the same for Prometheus

        """

    /// An order, which takes POST: a link that somebody follows changes nothing.
    private func order(_ request: AdminRequest, _ reply: (AdminResponse) -> Void, _ work: (Proxy) -> Void) {
        guard request.method == "POST" else {
            return reply(AdminResponse("Method \(request.method) not allowed, POST required.\n", status: 405))
        }
        work(self)
        reply(AdminResponse("OK\n"))
    }

    /// What others are to think of it.
    private var state: Phase { failsHealthChecks || hasDrainedListeners ? .draining : phase }

    private var readiness: AdminResponse {
        AdminResponse("\(state.rawValue)\n", status: state == .live ? 200 : 503)
    }

    // MARK: Statistics

    private func prometheus(_ reply: @escaping @Sendable (AdminResponse) -> Void) {
        let own = ownStatistics
        guard let carrier else { return reply(AdminResponse(StatisticsText.prometheus(own))) }
        carrier.statistics { counted in
            var response = AdminResponse(StatisticsText.prometheus(own + counted))
            response.contentType = "text/plain; version=0.0.4; charset=utf-8"
            reply(response)
        }
    }

    private func statistics(_ request: AdminRequest, _ reply: @escaping @Sendable (AdminResponse) -> Void) {
        if request["format"] == "prometheus" { return prometheus(reply) }
        let pattern: Pattern?
        do throws(PatternError) {
            pattern = try request["filter"].map { text throws(PatternError) in try Pattern(text) }
        } catch {
            return reply(AdminResponse("filter: \(error)\n", status: 400))
        }
        let own = ownStatistics
        let isJSON = request["format"] == "json"
        let render: @Sendable ([Statistic]) -> AdminResponse = { all in
            let isWanted: (String) -> Bool = { pattern?.matchesPart($0) ?? true }
            return isJSON
                ? .json(StatisticsText.json(all, matching: isWanted))
                : AdminResponse(StatisticsText.plain(all, matching: isWanted))
        }
        guard let carrier else { return reply(render(own)) }
        carrier.statistics { reply(render(own + $0)) }
    }

    /// What the control loop itself counts.
    private var ownStatistics: [Statistic] {
        var all = [
            Statistic(.proxy("server"), "live", state == .live ? 1 : 0, .gauge),
            Statistic(.proxy("server"), "state", state == .live ? 0 : state == .draining ? 1 : 3, .gauge),
            Statistic(.proxy("server"), "uptime", (Timestamp.systemClock() - startedAt).components.seconds, .gauge),
            Statistic(.proxy("server"), "concurrency", Int64(configuration.concurrency), .gauge),
            Statistic(
                .proxy("control_plane"), "connected_state", updates.isConnected ? 1 : 0, .gauge),
            Statistic(
                .proxy("listener_manager"), "total_listeners_active", Int64(store.served.listeners.count), .gauge),
            Statistic(
                .proxy("listener_manager"), "total_listeners_warming", Int64(store.warming(.listener).count), .gauge),
            Statistic(.proxy("listener_manager"), "listener_create_success", Int64(listenersCreated)),
            Statistic(.proxy("listener_manager"), "listener_create_failure", Int64(listenerFailures.count)),
            Statistic(.proxy("cluster_manager"), "active_clusters", Int64(store.served.clusters.count), .gauge),
            Statistic(.proxy("cluster_manager"), "warming_clusters", Int64(store.warming(.cluster).count), .gauge),
        ]
        for (type, prefix) in [(ResourceType.cluster, "cluster_manager.cds"), (.listener, "listener_manager.lds")] {
            all.append(Statistic(.proxy(prefix), "update_success", Int64(updates.accepted[type, default: 0])))
            all.append(Statistic(.proxy(prefix), "update_rejected", Int64(updates.refused[type, default: 0])))
        }
        all += updates.statistics(of: store.served)
        if let leaf = certificate?.leaf {
            let left = leaf.notAfter - .systemClock()
            all.append(
                Statistic(.proxy("server"), "days_until_first_cert_expiring", left.components.seconds / 86_400, .gauge))
        }
        return all
    }

    // MARK: Configuration

    private func clusters(_ request: AdminRequest, _ reply: @escaping @Sendable (AdminResponse) -> Void) {
        let isJSON = request["format"] == "json"
        guard let carrier else { return reply(AdminResponse("")) }
        let fixed = Set(configuration.fixed.filter { $0.type == .cluster }.map(\.name))
        carrier.clusters { clusters in
            var clusters = clusters
            for index in clusters.indices { clusters[index].isFixed = fixed.contains(clusters[index].name) }
            reply(isJSON ? .json(ClusterStatus.json(clusters)) : AdminResponse(ClusterStatus.text(clusters)))
        }
    }

    private func configDump(_ request: AdminRequest, _ reply: (AdminResponse) -> Void) {
        var selection = ConfigDump.Selection()
        selection.resource = request["resource"]
        selection.includesEndpoints = request["include_eds"] != nil
        if let text = request["name_regex"] {
            do throws(PatternError) {
                let pattern = try Pattern(text)
                selection.isWanted = { pattern.matchesWhole($0) }
            } catch {
                return reply(AdminResponse("name_regex: \(error)\n", status: 400))
            }
        }
        reply(.json(ConfigDump(entries: dumpEntries, node: configuration.node).json(selection)))
    }

    private var dumpEntries: [ConfigDump.Entry] {
        var entries = configuration.fixed.map {
            ConfigDump.Entry(type: $0.type, resource: HeldResource(name: $0.name, version: "", body: $0.body))
        }
        guard let runner else { return entries }
        let (now, wall) = (runner.now, Timestamp.systemClock())
        let warming = Dictionary(
            uniqueKeysWithValues: [ResourceType.cluster, .listener].map { ($0, Set(store.warming($0))) })
        for status in runner.state.statuses {
            // One of which nothing was ever taken is shown with why.
            guard status.held != nil || status.failure != nil else { continue }
            let age = status.updatedAt.map { $0.duration(to: now) } ?? .zero
            var entry = ConfigDump.Entry(
                type: status.type, resource: status.held ?? HeldResource(name: status.name, version: "", body: []),
                updatedAt: wall - age, isWarming: warming[status.type]?.contains(status.name) ?? false)
            entry.isHeld = status.held != nil
            if let failure = status.failure {
                entry.failure = failure.detail.message
                entry.refusedVersion = failure.version
                entry.refusedAt = wall - failure.failedAt.duration(to: now)
            } else if status.type == .listener {
                entry.failure = listenerFailures[status.name]
            }
            entries.append(entry)
        }
        return entries
    }

    private func listeners(_ request: AdminRequest) -> AdminResponse {
        var all: [(name: String, address: String)] = []
        for (name, resource) in store.served.listeners.sorted(by: { $0.key < $1.key }) {
            guard case .listener(let listener) = resource.value else { continue }
            for address in listener.addresses { all.append((name, "\(address)")) }
        }
        guard request["format"] == "json" else {
            return AdminResponse(all.map { "\($0.name)::\($0.address)\n" }.joined())
        }
        let entries = all.map { name, address in
            DocumentNode.object([("name", .text(name)), ("local_address", ClusterStatus.socketAddress(address))])
        }
        return .json(DocumentNode.object([("listener_statuses", .list(entries))]).line)
    }

    // MARK: Certificates

    private var certificates: String {
        var entries: [DocumentNode] = []
        for (_, resource) in store.served.secrets.sorted(by: { $0.key < $1.key }) {
            guard case .secret(let material) = resource.value else { continue }
            switch material {
            case .identity(let identity): entries.append(Self.entry(chain: identity.chain))
            case .trust(let trust): entries.append(Self.entry(anchors: trust.anchors.certificates))
            case .ticketKeys, .generic: break
            }
        }
        return DocumentNode.object([("certificates", .list(entries))]).line
    }

    private static func entry(anchors: [Certificate] = [], chain: [Certificate] = []) -> DocumentNode {
        .object([("ca_cert", .list(anchors.map(document))), ("cert_chain", .list(chain.map(document)))])
    }

    private static func document(_ certificate: Certificate) -> DocumentNode {
        let left = max(0, (certificate.notAfter - .systemClock()).components.seconds / 86_400)
        let names =
            certificate.names.uris.map { ("uri", $0) } + certificate.names.dnsNames.map { ("dns", $0) }
            + certificate.names.ipAddresses.map { ("ip_address", "\($0)") }
        return .object([
            ("path", .text("<inline>")), ("serial_number", .text("\(certificate.serial)")),
            ("subject_alt_names", .list(names.map { .object([($0.0, .text($0.1))]) })),
            ("days_until_expiration", .text("\(left)")), ("valid_from", .text(certificate.notBefore.utcText)),
            ("expiration_time", .text(certificate.notAfter.utcText)),
        ])
    }

    // MARK: The proxy itself

    private var serverInformation: String {
        let uptime = (Timestamp.systemClock() - startedAt).components.seconds
        let node: [(String, DocumentNode)] = [
            ("id", .text(configuration.node.id)), ("cluster", .text(configuration.node.cluster)),
        ]
        let options: [(String, DocumentNode)] = [
            ("concurrency", .number(configuration.concurrency)),
            ("drain_time", .text("\(configuration.drainTime.components.seconds)s")),
        ]
        return DocumentNode.object([
            ("version", .text("martinet/\(configuration.version)")), ("state", .text(state.rawValue)),
            ("hot_restart_version", .text("disabled")), ("uptime_current_epoch", .text("\(uptime)s")),
            ("uptime_all_epochs", .text("\(uptime)s")), ("node", .object(node)),
            ("command_line_options", .object(options)),
        ]).line
    }

    private func logging(_ request: AdminRequest, _ reply: (AdminResponse) -> Void) {
        guard let wanted = request["level"] ?? request.query.first?.name else {
            return reply(AdminResponse("active loggers:\n  martinet.proxy: \(logger.logLevel)\n"))
        }
        let words = ["off": Logger.Level.critical, "warn": .warning]
        guard let level = words[wanted] ?? Logger.Level(rawValue: wanted) else {
            return reply(AdminResponse("`\(wanted)` is no level\n", status: 400))
        }
        order(request, reply) { $0.configuration.setLogLevel(level) }
    }
}
