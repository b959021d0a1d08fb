// SPDX-License-Identifier: Apache-2.0
// Empty: the source that the precompiled headers of the tests are made with (CMakeLists.txt).
