import Forwarding
import HTTP
import Time

extension Exchange {
    /// What is known of the request: for values of headers, and for logs once it is over.
    func accessRecord() -> AccessRecord {
        let entry = AccessRecord(
            .request, connection, start: record.start, began: record.began, ended: record.ended)
        entry.session.localURI = connection.isTLS ? service.ownURI ?? "" : ""
        entry.remote = remote
        entry.protocolName = protocolName
        entry.request = outgoing.isEmpty ? head : outgoing
        entry.response = record.response
        entry.trailers = record.trailers
        entry.status = record.status
        entry.flags = record.flags
        entry.details = record.details
        (entry.bytesReceived, entry.bytesSent) = (record.bytesReceived, record.bytesSent)
        entry.routeName = route?.name ?? ""
        entry.virtualHost = route?.virtualHost ?? ""
        entry.cluster = cluster?.name ?? ""
        if let host {
            entry.upstream = host.address
            entry.upstreamName = host.endpoint.hostname
            entry.upstreamMetadata = host.endpoint.metadata
        }
        entry.routeMetadata = route?.metadata ?? FilterMetadata()
        entry.upstreamLocal = record.upstreamLocal.map { NetworkAddress($0) }
        entry.transportFailure = record.transportFailure ?? ""
        entry.attempts = tries
        entry.metadata = metadata
        (entry.traceReason, entry.trace) = (trace.reason, trace.context)
        entry.hostName = worker.hostName
        entry.requestEnded = record.requestEnded
        entry.sendingBegan = record.sent
        entry.responseBegan = record.responded
        entry.replyBegan = record.responded
        // What came before the head went out goes with it, the rest as it comes.
        if let sent = record.sent, let ended = record.requestEnded { entry.sendingEnded = max(sent, ended) }
        entry.responseEnded = record.responseEnded
        entry.upstreamProtocolName = record.upstreamProtocolName
        entry.connectionNumber = downstream?.connectionNumber ?? 0
        return entry
    }
}

extension TCPRecord {
    /// What logs tell of the connection, once it is over.
    func accessRecord(_ connection: ConnectionFacts, hostName: String, ownURI: String) -> AccessRecord {
        let entry = AccessRecord(.connection, connection, start: start, began: began, ended: ended ?? began)
        entry.session.localURI = connection.isTLS ? ownURI : ""
        entry.connectionNumber = number
        entry.flags = flags
        entry.details = details
        (entry.bytesReceived, entry.bytesSent) = (bytesReceived, bytesSent)
        entry.cluster = cluster
        entry.upstream = host
        entry.metadata = metadata
        entry.upstreamLocal = upstreamLocal.map { NetworkAddress($0) }
        entry.transportFailure = transportFailure ?? ""
        entry.hostName = hostName
        entry.sendingBegan = connected
        return entry
    }
}
