import COpenSSL
import Glibc
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

/// Whether a session may be resumed: its peer certificate has at least a quarter of its validity before it, or there is
/// none. A resumed handshake verifies nothing, so a session must not outlive the certificate that it stands for; and a
/// connection that begins with an old one ends with it, where a full handshake would show the one that replaced it.
func peerIsValidForLong(_ session: OpaquePointer?, at time: Timestamp?) -> Bool {
    guard let session, let certificate = SSL_SESSION_get0_peer(session) else { return true }
    let (begin, end) = (X509_get0_notBefore(certificate), X509_get0_notAfter(certificate))
    var (days, seconds): (Int32, Int32) = (0, 0)
    guard ASN1_TIME_diff(&days, &seconds, begin, end) == 1 else { return false }
    var now = time.map { time_t($0.seconds) } ?? Glibc.time(nil)
    var later = now + (Int(days) * 86_400 + Int(seconds)) / 4
    // 0 is said of a date that cannot be read.
    return X509_cmp_time(begin, &now) < 0 && X509_cmp_time(end, &later) > 0
}
