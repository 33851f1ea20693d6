import Foundation
import GRDB

/// Why the store could not do what it was asked; nothing was half written.
public enum StoreError: Error, Hashable, Sendable, CustomStringConvertible {
    case directoryUnusable(String, reason: String)
    case diskFull(path: String)
    case readOnly(path: String)
    case heldByAnother(path: String)
    case damaged(path: String, reason: String)
    /// Another program has changed what this one believed to be its own.
    case outOfStep(path: String, expected: Int64, found: Int64)
    case failed(path: String, reason: String)

    public var description: String {
        switch self {
        case .directoryUnusable(let path, let reason): "cannot use the data directory \(path): \(reason)"
        case .diskFull(let path): "no space left for \(path); nothing was changed"
        case .readOnly(let path): "\(path) cannot be written; nothing was changed"
        case .heldByAnother(let path): "\(path) is held by another process"
        case .damaged(let path, let reason): "\(path) is not a sound database: \(reason)"
        case .outOfStep(let path, let expected, let found):
            "\(path) has revision \(found), and revision \(expected) was read; nothing was changed"
        case .failed(let path, let reason): "\(path): \(reason)"
        }
    }

    /// The mend.
    public var hint: String {
        switch self {
        case .directoryUnusable: "pass --data DIR with a directory that this user can write"
        case .diskFull: "free some space on that file system and try again"
        case .readOnly: "check the owner and the mode of the file and of its directory"
        case .heldByAnother: "only one control plane can use a data directory; stop the other, or pass another --data"
        case .damaged: "put back a copy of the file, or move it away to start with an empty one"
        case .outOfStep: "another program changes this database: stop it, and start the control plane again"
        case .failed: "see the reason above"
        }
    }

    static func wrap<Result>(_ path: String, _ body: () throws -> Result) throws(StoreError) -> Result {
        do {
            return try body()
        } catch let error as StoreError {
            throw error
        } catch let error as DatabaseError {
            throw StoreError(error, path: path)
        } catch {
            throw .failed(path: path, reason: error.localizedDescription)
        }
    }

    private init(_ error: DatabaseError, path: String) {
        let reason = error.message ?? "\(error.resultCode)"
        self =
            switch error.resultCode {
            case .SQLITE_FULL: .diskFull(path: path)
            case .SQLITE_READONLY, .SQLITE_PERM: .readOnly(path: path)
            case .SQLITE_BUSY, .SQLITE_LOCKED: .heldByAnother(path: path)
            case .SQLITE_NOTADB, .SQLITE_CORRUPT: .damaged(path: path, reason: reason)
            case .SQLITE_CANTOPEN: .directoryUnusable(path, reason: reason)
            case .SQLITE_IOERR: .failed(path: path, reason: "input or output error: \(reason)")
            default: .failed(path: path, reason: reason)
            }
    }
}
