extension UpstreamCluster {
    /// The cluster's part of `/clusters`, in the lines that Envoy writes.
    public var listing: String {
        let name = configuration.name
        var text = "\(name)::observability_name::\(name)\n"
        for (priority, word) in [(RequestPriority.normal, "default"), (.high, "high")] {
            let settings = configuration.breakers[priority.rawValue]
            text += "\(name)::\(word)_priority::max_connections::\(settings.connections)\n"
            text += "\(name)::\(word)_priority::max_pending_requests::\(settings.pending)\n"
            text += "\(name)::\(word)_priority::max_requests::\(settings.requests)\n"
            text += "\(name)::\(word)_priority::max_retries::\(settings.retries)\n"
        }
        text += "\(name)::added_via_api::true\n"
        for host in hosts {
            for (key, value) in host.listed { text += "\(name)::\(host.address)::\(key)::\(value)\n" }
        }
        return text
    }
}

extension UpstreamHost {
    /// What `/clusters` says of it, by Envoy's names.
    public var listed: [(name: String, value: String)] {
        [
            ("cx_active", "\(activeConnections)"), ("cx_connect_fail", "\(totals.connectFailures)"),
            ("cx_total", "\(totals.connections)"), ("rq_active", "\(activeRequests)"),
            ("rq_error", "\(totals.errors)"), ("rq_success", "\(totals.successes)"),
            ("rq_timeout", "\(totals.timeouts)"), ("rq_total", "\(totals.requests)"), ("hostname", endpoint.hostname),
            ("health_flags", flags), ("weight", "\(weight)"), ("region", locality.region), ("zone", locality.zone),
            ("sub_zone", locality.subZone), ("canary", "\(endpoint.isCanary)"), ("priority", "\(priority)"),
            ("success_rate", successRate.map { "\($0)" } ?? "-1"),
            ("local_origin_success_rate", localSuccessRate.map { "\($0)" } ?? "-1"),
        ]
    }
}
