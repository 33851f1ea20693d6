import COpenSSL
import Synchronization
import Time

/// A client's sessions that may be resumed, newest last; the oldest goes when there are more than `capacity`.
final class SessionStore: Sendable {
    private let capacity: Int
    private let sessions = Mutex<[(key: String, session: Session)]>([])

    init(capacity: Int) {
        self.capacity = capacity
    }

    /// The newest session for `key`. One of TLS 1.3 leaves the store: a ticket is used once, so that nobody
    /// can tell connections of one client by it (RFC 8446, C.4), and the server sends a new one. One of
    /// TLS 1.2 stays, because its server need not send another (RFC 5077, 3.3).
    func take(_ key: String) -> Session? {
        sessions.withLock { sessions in
            guard let index = sessions.lastIndex(where: { $0.key == key }) else { return nil }
            let session = sessions[index].session
            if session.isUsedOnce { sessions.remove(at: index) }
            return session
        }
    }

    func keep(_ session: Session, for key: String) {
        guard capacity > 0 else { return }
        sessions.withLock { sessions in
            sessions.removeAll { $0.key == key && !$0.session.isUsedOnce }
            sessions.append((key, session))
            if sessions.count > capacity { sessions.removeFirst(sessions.count - capacity) }
        }
    }
}

/// One session. libssl counts its references atomically, and locks what it changes in it.
final class Session: Sendable {
    nonisolated(unsafe) let pointer: OpaquePointer

    /// Takes over the caller's reference.
    init(owning pointer: OpaquePointer) {
        self.pointer = pointer
    }

    var isUsedOnce: Bool {
        SSL_SESSION_get_protocol_version(pointer) == TLS1_3_VERSION
    }

    deinit {
        SSL_SESSION_free(pointer)
    }
}

/// Whether the peer certificate of a session is still within its validity, or there is none. A resumed
/// handshake verifies nothing, so a session must not outlive the certificate that it stands for.
func peerIsStillValid(_ session: OpaquePointer?, at time: Timestamp?) -> Bool {
    guard let session, let certificate = SSL_SESSION_get0_peer(session) else { return true }
    // A nil time makes X509_cmp_time read the system clock. It returns 0 for a date that it cannot read.
    func compare(_ date: UnsafePointer<ASN1_TIME>?) -> Int32 {
        guard let time else { return X509_cmp_time(date, nil) }
        var seconds = time_t(time.seconds)
        return X509_cmp_time(date, &seconds)
    }
    return compare(X509_get0_notBefore(certificate)) < 0 && compare(X509_get0_notAfter(certificate)) > 0
}
