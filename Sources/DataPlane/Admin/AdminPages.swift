import Certificates
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

    private var readiness: AdminResponse {
        let isReady = phase == .live && !failsHealthChecks
        return AdminResponse("\(failsHealthChecks ? "DRAINING" : phase.rawValue)\n", status: isReady ? 200 : 503)
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
            Statistic(.proxy("server"), "live", phase == .live ? 1 : 0, .gauge),
            Statistic(.proxy("server"), "state", phase == .live ? 0 : phase == .draining ? 1 : 3, .gauge),
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
        carrier.clusters { clusters in
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
            guard let held = status.held else { continue }
            let age = status.updatedAt.map { $0.duration(to: now) } ?? .zero
            entries.append(
                ConfigDump.Entry(
                    type: status.type, resource: held, updatedAt: wall - age,
                    isWarming: warming[status.type]?.contains(status.name) ?? false,
                    failure: status.failure?.detail.message ?? listenerFailures[status.name]))
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
            let colon = address.lastIndex(of: ":") ?? address.endIndex
            let port = colon == address.endIndex ? "0" : String(address[address.index(after: colon)...])
            return "{\"name\":\(quotedJSON(name)),\"local_address\":{\"socket_address\":{"
                + "\"address\":\(quotedJSON(String(address[..<colon]))),\"port_value\":\(port)}}}"
        }
        return .json("{\"listener_statuses\":[\(entries.joined(separator: ","))]}\n")
    }

    // MARK: Certificates

    private var certificates: String {
        var entries: [String] = []
        for (_, resource) in store.served.secrets.sorted(by: { $0.key < $1.key }) {
            guard case .secret(let material) = resource.value else { continue }
            switch material {
            case .identity(let identity):
                entries.append(
                    "{\"ca_cert\":[],\"cert_chain\":[\(identity.chain.map { Self.json($0) }.joined(separator: ","))]}")
            case .trust(let trust):
                let domains = (trust.trustDomains ?? [:]).sorted { $0.key < $1.key }.flatMap(\.value.certificates)
                let anchors = ((trust.anchors?.certificates ?? []) + domains)
                    .map { Self.json($0) }.joined(separator: ",")
                entries.append("{\"ca_cert\":[\(anchors)],\"cert_chain\":[]}")
            case .ticketKeys, .generic: break
            }
        }
        return "{\"certificates\":[\(entries.joined(separator: ","))]}\n"
    }

    private static func json(_ certificate: Certificate) -> String {
        let left = max(0, (certificate.notAfter - .systemClock()).components.seconds / 86_400)
        let names =
            certificate.names.uris.map { "{\"uri\":\(quotedJSON($0))}" }
            + certificate.names.dnsNames.map { "{\"dns\":\(quotedJSON($0))}" }
            + certificate.names.ipAddresses.map { "{\"ip_address\":\(quotedJSON($0))}" }
        return "{\"path\":\"<inline>\",\"serial_number\":\(quotedJSON("\(certificate.serial)")),"
            + "\"subject_alt_names\":[\(names.joined(separator: ","))],\"days_until_expiration\":\"\(left)\","
            + "\"valid_from\":\(quotedJSON(certificate.notBefore.utcText)),"
            + "\"expiration_time\":\(quotedJSON(certificate.notAfter.utcText))}"
    }

    // MARK: The proxy itself

    private var serverInformation: String {
        let uptime = (Timestamp.systemClock() - startedAt).components.seconds
        return "{\"version\":\(quotedJSON("martinet/\(configuration.version)")),\"state\":\"\(phase.rawValue)\","
            + "\"hot_restart_version\":\"disabled\",\"uptime_current_epoch\":\"\(uptime)s\","
            + "\"uptime_all_epochs\":\"\(uptime)s\",\"node\":{\"id\":\(quotedJSON(configuration.node.id)),"
            + "\"cluster\":\(quotedJSON(configuration.node.cluster))},"
            + "\"command_line_options\":{\"concurrency\":\(configuration.concurrency),"
            + "\"drain_time\":\"\(configuration.drainTime.components.seconds)s\"}}\n"
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
